from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iog.errors import SettingsError
from iog.models.spec import REGISTRY
from iog.training.config import OLD_NAMES, TrainingConfig, Upstream

CONFIGS = Path(__file__).parents[2] / "iog" / "training" / "configs"


def test_the_bundled_settings_are_those_the_weights_table_feeds() -> None:
    config = TrainingConfig.from_toml(CONFIGS / "iog-lite.toml")
    spec = REGISTRY["iog-lite"]
    assert (config.architecture, config.crop, config.threshold) == (
        spec.architecture,
        spec.crop,
        spec.threshold,
    )


def test_flags_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("steps = 5\nbatch = 3\n")
    config = TrainingConfig.from_toml(tmp_path / "a.toml", steps=7, batch=None)
    assert (config.steps, config.batch) == (7, 3)


@pytest.mark.parametrize(
    ("text", "name"), [("stepz = 5", "stepz"), ("[crop]\nframes = 5", r"crop\.frames")]
)
def test_unknown_settings_are_refused(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError, match=rf"unknown setting {name}; known: "):
        TrainingConfig.from_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "text",
    [
        'steps = "many"',
        "threshold = true",
        '[crop]\ninput_size = "big"',
        "[crop]\ninput_size = 50",
        "steps =",
    ],
)
def test_values_that_cannot_be_used_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        TrainingConfig.from_toml(tmp_path / "a.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_settings_may_have_their_old_names(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "a.toml").write_text(f"{old} = 0.25\n")
    (tmp_path / "b.toml").write_text(f"{new} = 0.25\n")
    for name in ("a", "b"):
        path = tmp_path / f"{name}.toml"
        assert getattr(TrainingConfig.from_toml(path), new) == 0.25
        assert getattr(TrainingConfig.from_toml(path, **{old: 0.75}), new) == 0.75
        assert getattr(TrainingConfig.from_toml(path, **{new: 0.75}), new) == 0.75


def test_tables_are_merged_with_what_flags_say(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[crop]\nframe = 64\nfwhm = 3.0\n[upstream]\n")
    config = TrainingConfig.from_toml(tmp_path / "a.toml", crop={"fwhm": 5.0})
    assert (config.crop.input_size, config.crop.fwhm) == (64, 5.0)


def test_recipes_are_known_by_their_names() -> None:
    assert TrainingConfig.from_toml(Path("iog-lite")).architecture == "iog-lite"
    with pytest.raises(SettingsError, match="one of: fine-tune, iog-lite, iog-pascal"):
        TrainingConfig.from_toml(Path("iog-light"))


def test_the_published_recipes_are_the_published_ones() -> None:
    """Figures of the released training code."""
    for name, batch in (("iog-pascal", 5), ("iog-pascal-sbd", 5), ("iog-refinement", 2)):
        config = TrainingConfig.from_toml(Path(name))
        assert (config.lr_backbone, config.lr_decoder, config.momentum) == (1e-8, 1e-7, 0.9)
        assert (config.weight_decay, config.batch, config.epochs) == (5e-4, batch, 100)
        assert config.crop == REGISTRY["iog-pascal"].crop
        assert config.upstream == Upstream()


def test_passes_over_the_data_become_steps() -> None:
    config = TrainingConfig(epochs=2.5, batch=4, accumulate=2)
    assert config.for_data(33).steps == 11  # 82.5 examples, 8 at a time
    assert TrainingConfig(steps=7).for_data(33).steps == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch is 0; it must be 1 or above"),
        ({"affine_prob": 1.5}, "affine_prob is 1.5; it must be 0 to 1"),
        ({"lr_decoder": -1.0}, "lr_decoder is -1.0; it must be 0 or above"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"precision": "int8"}, "precision is 'int8'; it must be one of: fp32, bf16, fp16"),
    ],
)
def test_values_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainingConfig(**values)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no\.toml cannot be read"):
        TrainingConfig.from_toml(tmp_path / "no.toml")
