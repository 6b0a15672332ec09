"""One licence, wherever it is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.deploy.recipes import dockerfile

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_licence_of_the_package_is_that_of_its_file() -> None:
    (name,) = PROJECT["license-files"]
    assert PROJECT["license"] == "MIT"
    head = "MIT License\n\nCopyright (c) 2026 the iog authors\n"
    assert (ROOT / name).read_text().startswith(head)
    assert f"]({name})" in (ROOT / "README.md").read_text()


def test_the_images_say_the_same_and_hold_what_the_package_is_built_of() -> None:
    _, stages = dockerfile()
    for name in ("nuclio", "standalone"):
        labels = " ".join(stages[name].values("LABEL"))
        assert re.findall(r'image\.licenses="(.+?)"', labels) == [PROJECT["license"]]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{file}" for file in (*PROJECT["license-files"], PROJECT["readme"])} <= set(lines)
