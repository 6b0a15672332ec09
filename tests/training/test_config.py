from __future__ import annotations

from pathlib import Path

import pytest

from networks.weights import TABLE
from training.config import ConfigError, TrainingConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def test_the_bundled_settings_are_those_the_weights_table_feeds() -> None:
    config = TrainingConfig.from_toml(CONFIGS / "iog-lite.toml")
    row = TABLE["iog-lite"]
    assert (config.architecture, config.crop, config.threshold) == (
        row.architecture,
        row.crop,
        row.threshold,
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
    with pytest.raises(ConfigError, match=rf"unknown setting {name}; known: "):
        TrainingConfig.from_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "text",
    [
        'steps = "many"',
        "threshold = true",
        '[crop]\nframe = "big"',
        "[crop]\nframe = 50",
        "steps =",
    ],
)
def test_values_that_cannot_be_used_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        TrainingConfig.from_toml(tmp_path / "a.toml")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml cannot be read"):
        TrainingConfig.from_toml(tmp_path / "no.toml")
