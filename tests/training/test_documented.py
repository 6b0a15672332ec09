"""docs/training.md names every setting, with its default."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from iog.training.config import CONFIGS, TrainingConfig, Upstream

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


@pytest.mark.parametrize("setting", fields(TrainingConfig), ids=lambda f: f.name)
def test_every_setting_is_in_the_table_with_its_default(setting: object) -> None:
    name, default = setting.name, setting.default  # type: ignore[attr-defined]
    row = re.search(rf"^\| `{name}` \| (.*?) \|", PAGE, re.MULTILINE)
    assert row is not None, name
    if default is not MISSING and default != "":
        value = str(default).lower() if isinstance(default, bool) else str(default)
        assert row[1] == f"`{value}`"


def test_every_slip_and_every_recipe_is_described() -> None:
    for name in (f.name for f in fields(Upstream)):
        assert f"| `{name}` |" in PAGE
    for path in CONFIGS.glob("*.toml"):
        assert f"| `{path.stem}` |" in PAGE
