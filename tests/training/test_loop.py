from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from networks import build_network
from networks.checkpoints import load, read_checkpoint
from tests.tiny_dataset import write_folder
from training import loop
from training.config import ConfigError, TrainingConfig
from training.dataset import TrainingSamples
from training.loop import train

CONFIG = TrainingConfig(
    crop=CropRule(frame=64, margin_px=4, margin_ratio=0.18, corner_offset=2, fwhm=4),
    small_frame=48,
    steps=4,
    batch=2,
    warm_up=1,
    checkpoint_every=1,
    validate_every=100,
    threads=1,
    workers=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"), photos=3)


def _losses(out: Path) -> list[str]:
    with (out / loop.LOG).open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(CONFIG, data=data, initial=None, out=tmp_path / "whole")

    calls = 0
    compute = loop.batch_loss

    def killed_in_the_third_step(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return compute(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "batch_loss", killed_in_the_third_step)
    with_process = replace(CONFIG, workers=1)
    with pytest.raises(KeyboardInterrupt):
        train(with_process, data=data, initial=None, out=tmp_path / "killed")
    monkeypatch.setattr(loop, "batch_loss", compute)
    train(CONFIG, data=data, initial=None, out=tmp_path / "killed")

    assert len(_losses(tmp_path / "whole")) == 4
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")
    whole, killed = (
        read_checkpoint(tmp_path / name / loop.CHECKPOINT) for name in ("whole", "killed")
    )
    for key, value in whole.state.items():
        torch.testing.assert_close(killed.state[key], value, rtol=0, atol=0)
    for key, value in whole.training["network"].items():
        torch.testing.assert_close(killed.training["network"][key], value, rtol=0, atol=0)


def test_the_last_step_is_scored(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), data=data, initial=None, out=tmp_path)
    with (tmp_path / loop.LOG).open() as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row["iou"]) <= 1
    assert 0 <= float(row["iou_clicks"]) <= 1


def test_a_run_does_not_go_on_with_other_settings(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), data=data, initial=None, out=tmp_path)
    with pytest.raises(ConfigError, match=r"trained with steps = 1, not 2"):
        train(replace(CONFIG, steps=2), data=data, initial=None, out=tmp_path)


def test_a_checkpoint_can_be_served_as_it_is(data: Path, tmp_path: Path) -> None:
    path = train(replace(CONFIG, steps=1), data=data, initial=None, out=tmp_path)
    model = load(str(path), weights_dir=tmp_path)
    assert model.row.crop == CONFIG.crop
    assert model.metadata["steps"] == 1
    assert 0 <= model.metadata["metrics"]["iou"] <= 1


def test_learning_lowers_the_loss_on_one_batch(data: Path) -> None:
    torch.manual_seed(0)
    network = build_network("iog-lite")
    config = replace(CONFIG, small_share=0.0, click_share=0.0)
    samples = TrainingSamples(InstanceMasks(data, split="train"), config)
    batch = torch.utils.data.default_collate([samples[i] for i in range(4)])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for step in range(8):
        loss = loop.batch_loss(network, batch, config, step)  # type: ignore[arg-type]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_a_network_without_click_branch_is_refused(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, architecture="iog-resnet101")
    with pytest.raises(ValueError, match="no click branch"):
        train(config, data=data, initial=None, out=tmp_path)


def test_learning_rates_rise_and_fall() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [parameter], "peak": 1.0}], lr=1.0)
    rates = []
    for step in range(100):
        loop._set_learning_rate(optimiser, replace(CONFIG, steps=100, warm_up=10), step)
        rates.append(optimiser.param_groups[0]["lr"])
    assert int(np.argmax(rates)) == 9
    assert rates[0] < 0.2
    assert rates[-1] < 0.01
