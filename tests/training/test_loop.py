from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from iog.errors import SettingsError
from iog.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from iog.settings import Settings
from iog.training import loop
from iog.training.config import OLD_NAMES, TrainingConfig
from iog.training.runlog import Row, read_log
from model_handler import ModelHandler

CONFIG = TrainingConfig(
    crop=CropRule(input_size=64, margin_px=4, margin_ratio=0.18, corner_offset=2, fwhm=4),
    small_frame=48,
    steps=4,
    batch=2,
    warm_up=1,
    checkpoint_every=1,
    validate_every=0,
    threads=1,
    workers=0,
)
ROOT = Path(__file__).parents[2]


def train(config: TrainingConfig, data: Path, out: Path, *, validate: bool = False) -> Path:
    objects = InstanceMasks(data, split="train")
    judge = InstanceMasks(data, split="val") if validate else None
    return loop.train(
        config, objects, judge, initial=None, out=out, device="cpu", described="discs"
    )


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_log(out / "log.csv")]


@pytest.mark.long
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(
    data: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, steps=6)
    train(config, data, tmp_path / "whole")

    command = [
        *(sys.executable, "-m", "iog", "train", "fine-tune", "--data", f"masks:{data}"),
        *("--out", str(tmp_path / "killed"), "--device", "cpu"),
    ]
    for key, value in {**config.as_dict(), "workers": 1}.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                command += ["--set", f"{key}.{name}={json.dumps(inner)}"]
        else:
            command += ["--set", f"{key}={json.dumps(value)}"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not (tmp_path / "killed" / loop.CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = read_checkpoint(tmp_path / "killed" / loop.CHECKPOINT).training["step"]
    assert 1 <= done < 6
    train(config, data, tmp_path / "killed")

    assert len(losses(tmp_path / "whole")) == 6
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    whole, killed = (
        read_checkpoint(tmp_path / name / loop.CHECKPOINT) for name in ("whole", "killed")
    )
    for key, value in whole.state.items():
        torch.testing.assert_close(killed.state[key], value, rtol=0, atol=0)
    for key, value in whole.training["network"].items():
        torch.testing.assert_close(killed.training["network"][key], value, rtol=0, atol=0)


def test_a_kill_between_log_and_checkpoint_leaves_no_row_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, steps=3)
    train(config, data, tmp_path / "whole")
    write = write_checkpoint

    def killed(path: Path, checkpoint: Checkpoint) -> None:
        if (tmp_path / "killed" / loop.CHECKPOINT).exists():
            raise KeyboardInterrupt  # the second row is written, its checkpoint is not
        write(path, checkpoint)

    monkeypatch.setattr(loop, "write_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "killed")
    assert len(losses(tmp_path / "killed")) == 2
    monkeypatch.setattr(loop, "write_checkpoint", write)
    train(config, data, tmp_path / "killed")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_the_last_step_is_scored_and_the_best_is_kept(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), data, tmp_path, validate=True)
    (row,) = read_log(tmp_path / "log.csv")
    assert 0 <= row["iou"] <= 1
    assert 0 <= row["iou_clicks"] <= 1
    best = read_checkpoint(tmp_path / loop.BEST)
    assert best.metadata["metrics"]["iou"] == row["iou"]
    assert not best.training


def test_validation_falls_on_the_next_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "validate", lambda *_: {"iou": 0.5})
    config = replace(CONFIG, steps=7, checkpoint_every=2, validate_every=3)
    train(config, data, tmp_path, validate=True)
    scored = [int(row["step"]) for row in read_log(tmp_path / "log.csv") if "iou" in row]
    assert scored == [4, 6, 7]


def test_a_run_leaves_a_log_for_tensorboard_and_a_plot(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=2), data, tmp_path, validate=True)
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert (tmp_path / "log.png").stat().st_size > 1000


def test_a_run_does_not_go_on_with_other_settings(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), data, tmp_path)
    with pytest.raises(SettingsError, match=r"trained with batch = 2, not 4"):
        train(replace(CONFIG, steps=1, batch=4), data, tmp_path)


def test_a_run_of_an_older_version_goes_on(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=2, affine_prob=0.5)
    path = train(replace(config, steps=1), data, tmp_path / "old")
    checkpoint = read_checkpoint(path)
    old = {new: name for name, new in OLD_NAMES.items()}
    settings = {old.get(k, k): v for k, v in checkpoint.metadata["config"].items()}
    settings["crop"]["frame"] = settings["crop"].pop("input_size")
    metadata = {**checkpoint.metadata, "config": settings}
    write_checkpoint(path, replace(checkpoint, metadata=metadata))
    with pytest.raises(SettingsError, match=r"trained with affine_prob = 0\.5, not 0\.0"):
        train(CONFIG, data, tmp_path / "old")
    train(config, data, tmp_path / "old")
    assert [row["step"] for row in read_log(tmp_path / "old" / "log.csv")] == [1, 2]


def test_a_run_of_the_second_iog_lite_goes_on_under_its_present_name(
    data: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, steps=2, architecture="iog-lite-2")
    path = train(replace(config, steps=1), data, tmp_path)
    content = torch.load(path, weights_only=True)
    content |= {"version": 2, "architecture": "iog-lite"}
    content["metadata"]["config"]["architecture"] = "iog-lite"
    torch.save(content, path)
    with pytest.raises(SettingsError, match="trained with architecture = 'iog-lite-2'"):
        train(replace(config, architecture="iog-lite"), data, tmp_path)
    train(config, data, tmp_path)
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2]


def test_a_finished_run_can_be_made_longer_but_not_shorter(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint_every=2)
    train(replace(config, steps=4), data, tmp_path)
    before = read_log(tmp_path / "log.csv")
    path = train(replace(config, steps=6), data, tmp_path)

    rows = read_log(tmp_path / "log.csv")
    assert rows[:2] == before
    assert [row["step"] for row in rows] == [2, 4, 6]
    # The schedule is that of 6 steps from there on.
    shares = [row["lr"] / config.lr_decoder for row in rows]
    assert shares == pytest.approx(
        [0.5 + 0.5 * math.cos(math.pi * share) for share in (1 / 4, 3 / 4, 5 / 6)]
    )
    checkpoint = read_checkpoint(path)
    assert (checkpoint.training["step"], checkpoint.training["averaged"]) == (6, 6)
    assert checkpoint.metadata["config"]["steps"] == 6
    with pytest.raises(SettingsError, match="trained for 6 steps, more than the 4 asked for"):
        train(replace(config, steps=4), data, tmp_path)


def test_a_checkpoint_is_served_as_it_is(data: Path, tmp_path: Path) -> None:
    path = train(replace(CONFIG, steps=1), data, tmp_path, validate=True)
    model = read_checkpoint(path)
    assert model.spec.crop == CONFIG.crop
    assert model.metadata["data"] == "discs"
    assert model.metadata["steps"] == 1
    assert model.metadata["config"]["batch"] == 2
    assert 0 <= model.metadata["metrics"]["iou"] <= 1
    ModelHandler(replace(Settings.from_env({}), model=str(path), threads=1)).warm_up()


def test_every_step_is_reported(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, Row | None]] = []
    loop.train(
        replace(CONFIG, checkpoint_every=2),
        InstanceMasks(data, split="train"),
        None,
        initial=None,
        out=tmp_path,
        device="cpu",
        report=lambda step, row: told.append((step, row)),
    )
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert [row is not None for _, row in told] == [False, True, False, True]


def test_initial_weights_are_where_a_run_starts(data: Path, tmp_path: Path) -> None:
    first = train(replace(CONFIG, steps=1), data, tmp_path / "first")
    weights = read_checkpoint(first)
    config = replace(CONFIG, steps=1, lr_backbone=0.0, lr_decoder=0.0, freeze_norms=True)
    again = loop.train(
        config,
        InstanceMasks(data, split="train"),
        None,
        initial=weights,
        out=tmp_path / "again",
        device="cpu",
    )
    for key, value in read_checkpoint(again).state.items():
        torch.testing.assert_close(value, weights.state[key], rtol=1e-6, atol=1e-6)


def test_accumulated_gradients_are_those_of_the_large_batch(data: Path, tmp_path: Path) -> None:
    """With BatchNorm out of the way and no random clicks, halves add up to the whole."""
    alike: dict[str, Any] = {
        "freeze_norms": True,
        "click_prob": 0.0,
        "steps": 1,
        "optimiser": "sgd",
    }
    alike |= {"lr_decoder": 0.01, "gradient_clip": 0.0, "schedule": "constant"}
    train(replace(CONFIG, batch=4, **alike), data, tmp_path / "large")
    train(replace(CONFIG, batch=2, accumulate=2, **alike), data, tmp_path / "halves")
    large, halves = (
        read_checkpoint(tmp_path / name / loop.CHECKPOINT) for name in ("large", "halves")
    )
    for key, value in large.state.items():
        torch.testing.assert_close(halves.state[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1}, "batch of 1.*freeze_norms"),
        ({"precision": "fp16"}, "fp16 needs a CUDA device"),
        ({"lr_decoder": 1e30, "gradient_clip": 0.0, "warm_up": 0}, "lower the learning rates"),
    ],
)
def test_settings_that_cannot_work_are_a_sentence(
    data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        train(replace(CONFIG, **changes), data, tmp_path)


def test_a_batch_of_one_trains_with_frozen_statistics(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, batch=1, steps=2, freeze_norms=True), data, tmp_path)
    assert len(losses(tmp_path)) == 2


def test_passes_over_the_data_need_not_divide_into_batches(data: Path, tmp_path: Path) -> None:
    objects = InstanceMasks(data, split="train")
    assert len(objects) == 4
    path = train(replace(CONFIG, batch=3, epochs=1.0), data, tmp_path)
    assert read_checkpoint(path).training["step"] == 2


def test_the_frozen_statistics_stay(data: Path, tmp_path: Path) -> None:
    state = read_checkpoint(
        train(replace(CONFIG, steps=2, freeze_norms=True), data, tmp_path)
    ).state
    means = [v for k, v in state.items() if k.endswith("running_mean")]
    assert means
    assert all(not mean.any() for mean in means)
