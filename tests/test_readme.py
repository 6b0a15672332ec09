"""The README's commands and Python, run as they are written."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _block(containing: str) -> str:
    """The one shell block that contains a word."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the photographs where they are in the repository."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def _run(block: str, folder: Path, environment: dict[str, str]) -> str:
    """The output of shell lines, which must succeed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _expect_a_person(mask: NDArray[np.uint8]) -> None:
    """The astronaut: head, chest and arms, neither the flag nor the shuttle."""
    assert mask.shape == (512, 512)
    for x, y in ((190, 320), (215, 110), (140, 400), (280, 420)):
        assert mask[y, x] == 1, (x, y)
    for x, y in ((12, 60), (410, 200), (100, 60), (470, 440)):
        assert mask[y, x] == 0, (x, y)


def test_the_curl_gets_a_mask_that_fits(
    bundled_server: str, checkout: Path, plain_environment: dict[str, str]
) -> None:
    block = _block("curl").replace("http://127.0.0.1:8080", bundled_server)
    _run(block, checkout, plain_environment)
    answer = json.loads((checkout / "answer.json").read_text())
    _expect_a_person(np.array(answer["mask"], np.uint8))
    outline = cv2.fillPoly(
        np.zeros((512, 512), np.uint8), [np.array(answer["points"], np.int32)], 1
    )
    _expect_a_person(outline.astype(np.uint8))


def test_a_file_is_segmented_without_a_server(
    checkout: Path, plain_environment: dict[str, str]
) -> None:
    iog = f"{sys.executable} -m iog"
    environment = {**plain_environment, "PYTHONPATH": str(ROOT)}
    _run(_block("--overlay").replace(".venv/bin/iog", iog), checkout, environment)
    mask = cv2.imread(str(checkout / "mask.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 255}
    _expect_a_person((mask // 255).astype(np.uint8))
    overlay = cv2.imread(str(checkout / "overlay.png"))
    assert overlay is not None
    assert overlay.shape == (512, 512, 3)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_lines_give_a_mask(
    page: str, checkout: Path, plain_environment: dict[str, str]
) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    script = checkout / "lines.py"
    script.write_text(f"{lines}\nprint(mask.box)\n")
    environment = {**plain_environment, "PYTHONPATH": str(ROOT)}
    said = _run(f"{sys.executable} {script}", checkout, environment)
    x1, y1, x2, y2 = ast.literal_eval(said.splitlines()[-1])
    assert x2 - x1 > 200
    assert y2 - y1 > 400


def test_every_link_leads_somewhere() -> None:
    pages = [
        *ROOT.glob("*.md"),
        ROOT / "iog" / "models" / "MODEL_CARD.md",
        *ROOT.glob("docs/**/*.md"),
    ]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
