"""`iog train` from the command line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from iog.cli import app
from iog.models import checkpoint
from iog.models.checkpoint import read_checkpoint
from iog.training.config import CONFIGS
from networks import ARCHITECTURES, MainNetwork, RefinementNetwork
from networks.backbones import ResNet101
from tests.random_weights import write_random_lite
from tests.tiny_formats import photos, write_coco, write_cvat_masks

QUICK = "--steps 1 --batch 2 --workers 0 --threads 1 --device cpu --set crop.input_size=64 " + (
    "--set crop.fwhm=4 --set small_fraction=0 --set min_area=4 --set checkpoint_every=1"
)


@pytest.fixture(autouse=True)
def here(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(data)
    monkeypatch.setenv("IOG_WEIGHTS_DIR", str(tmp_path / "weights"))


def iog_train(arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments.split()])


def refused(result: Result, *words: str) -> None:
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    for word in words:
        assert word in " ".join(result.output.replace("│", " ").split())


def test_a_run_ends_in_weights_that_say_what_they_are_and_can_be_made_longer(
    tmp_path: Path,
) -> None:
    arguments = f"iog-lite --data masks:data --out run {QUICK} --precision fp32 --lr 0.003"
    result = iog_train(arguments)
    assert result.exit_code == 0, result.output
    assert "4 objects to learn from, 2 to be judged by" in result.output
    assert "Wrote run/iog-lite.pt; best by validation: run/best.pt" in result.output
    metadata = read_checkpoint(tmp_path / "run" / "iog-lite.pt").metadata
    assert metadata["data"] == "data"
    assert metadata["steps"] == 1
    assert metadata["config"]["crop"]["input_size"] == 64
    assert 0 <= metadata["metrics"]["iou"] <= 1
    assert metadata["config"]["lr_decoder"] == 0.003
    assert metadata["config"]["lr_backbone"] == pytest.approx(0.0006)  # the rates keep their ratio

    sentence = "run was finished already; a larger --steps makes it longer."
    assert sentence not in result.output
    again = iog_train(arguments)
    assert again.exit_code == 0, again.output
    assert sentence in again.output
    longer = iog_train(arguments.replace("--steps 1 ", "--steps 2 "))
    assert longer.exit_code == 0, longer.output
    assert sentence not in longer.output
    assert read_checkpoint(tmp_path / "run" / "iog-lite.pt").metadata["steps"] == 2
    refused(iog_train(arguments), "trained for 2 steps, more than the 1 asked for")


def test_fine_tuning_keeps_what_the_weights_are(tmp_path: Path) -> None:
    write_cvat_masks(tmp_path / "export", photos())
    initial = write_random_lite(tmp_path / "mine.pt")
    quick = QUICK.replace("--set crop.input_size=64", "").replace("--set crop.fwhm=4", "")
    result = iog_train(
        f"fine-tune --data cvat-masks:export --hold-out 0.3 --initial {initial} --out run {quick}"
    )
    assert result.exit_code == 0, result.output
    found, given = (read_checkpoint(path).spec for path in (tmp_path / "run" / "best.pt", initial))
    assert (found.architecture, found.crop) == (given.architecture, given.crop)


def test_fine_tuning_needs_weights_to_start_from(tmp_path: Path) -> None:
    refused(iog_train("fine-tune --data masks:data"), "give --initial, such as")


def test_data_for_validation_may_lie_elsewhere(tmp_path: Path) -> None:
    path, images = write_coco(tmp_path / "coco", photos())
    result = iog_train(
        f"iog-lite --data masks:data --validation coco:{path},{images} --out run {QUICK} "
        "--precision fp32"
    )
    assert result.exit_code == 0, result.output
    assert "4 objects to learn from, 6 to be judged by" in result.output


def test_an_export_without_held_out_photographs_is_not_validated(tmp_path: Path) -> None:
    path, images = write_coco(tmp_path / "coco", photos())
    result = iog_train(f"iog-lite --data coco:{path},{images} --out run {QUICK} --precision fp32")
    assert result.exit_code == 0, result.output
    assert "6 objects to learn from, no validation" in result.output
    assert not (tmp_path / "run" / "best.pt").exists()


def one_step_of(recipe: str, tmp_path: Path) -> None:
    initial = ""
    if recipe == "fine-tune":
        initial = f"--initial {write_random_lite(tmp_path / 'mine.pt')}"
    result = iog_train(
        f"{recipe} --data masks:data --out run {QUICK} {initial} --set validate_objects=1 "
        "--hold-out 0"
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("recipe", sorted(path.stem for path in CONFIGS.glob("*.toml")))
def test_every_recipe_trains(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step each, of the published networks' layers with fewer channels."""
    narrow = {"decoder_width": 8, "psp_width": 16}
    kinds = {"iog-resnet101": MainNetwork, "iog-resnet101-refinement": RefinementNetwork}
    for name, kind in kinds.items():
        build = partial(lambda kind: kind(ResNet101(width=4), **narrow), kind)
        monkeypatch.setitem(ARCHITECTURES, name, build)
    monkeypatch.setattr(checkpoint, "_expected", checkpoint._expected.__wrapped__)  # a cache
    one_step_of(recipe, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["iog-pascal", "iog-refinement"])
def test_a_published_network_trains(recipe: str, tmp_path: Path) -> None:
    """`iog-pascal-sbd` has the network of `iog-pascal`."""
    one_step_of(recipe, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("iog-lite --data masks:no", ["no does not exist"]),
        ("nothing --data masks:data", ["nothing cannot be read: No such file or directory; give"]),
        ("nothing --data masks:data", ["or one of: fine-tune, iog-lite"]),
        ("iog-lite --data masks:data --set steps=abc", ["'abc'; it must be a whole number"]),
        ("iog-lite --data masks:data --set crop.antialias=1", ["it must be true or false"]),
        ("iog-lite --data masks:data --set set_weights=5", ["it must be a table of numbers"]),
        (
            "iog-lite --data masks:data --set crop=2 --set crop.input_size=1",
            ["crop has two values"],
        ),
        ("iog-lite --data masks:data --initial no.npz", ["of another backbone than the"]),
        ("iog-lite --data masks:data --set stepz=2", ["unknown setting stepz; known: "]),
        ("iog-lite --data masks:data --set steps", ["'steps' is not KEY=VALUE"]),
        ("iog-lite --data masks:data --set loss=hinge", ["loss is 'hinge'; it must be one of"]),
        ("iog-lite --data masks:data --set crop.input_size=50", ["crop: input_size is 50"]),
        ("iog-lite --data masks:data --set ema=2", ["ema is 2; it must be 0 to 1"]),
        ("iog-lite --data masks:data --set architecture=vgg", ["known: iog-resnet101, "]),
        ("iog-lite --data masks:data --initial none", ["no weights called 'none'"]),
        ("iog-lite --data masks:data --initial none.npz", ["none.npz does not exist"]),
        ("iog-lite --data masks:data --device tpu3", ["'tpu3' is no device"]),
        ("iog-lite --data masks:data --split dev", ["no split 'dev'"]),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(
    tmp_path: Path, arguments: str, words: list[str]
) -> None:
    (tmp_path / "no.npz").write_text("hello")
    result = iog_train(arguments + " --out run")
    refused(result, *words)
    assert "0:00:00" not in result.output  # no progress of what does not begin
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_list_of_objects_is_a_json_value() -> None:
    """`--set` takes TOML values; strings need no quotes."""
    from iog.cli.train import _settings

    assert _settings(["a.b=1", "a.c=[1, 2]", "d=bf16", 'e="x"', "f=true"]) == {
        "a": {"b": 1, "c": [1, 2]},
        "d": "bf16",
        "e": "x",
        "f": True,
    }
    assert json.dumps(_settings(["x=1e-4"])) == '{"x": 0.0001}'
