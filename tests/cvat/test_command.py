"""`iog masks --cvat` as it is typed: looks, makes masks with real workers, stores them."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from iog.cli import app
from tests.cvat.stand_in import TOKEN, StandIn, StandInJob, serving
from tests.deploy.recipes import ROOT


@pytest.fixture
def cvat() -> StandIn:
    state = StandIn()
    label = state.label("astronaut")
    photo = np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg").resize((128, 128)))
    state.picture(0, photo)
    job = StandInJob(11, task=5, start=0, stop=0)
    state.jobs[11] = job
    for points in ([1.25, 1.0, 92.5, 128.0], [200.0, 5, 240, 40]):
        job.shapes.append(
            {"id": state.number(), "type": "rectangle", "frame": 0, "label_id": label, "group": 0,
             "source": "manual", "occluded": False, "outside": False, "z_order": 0,
             "rotation": 0.0, "points": points, "attributes": [], "elements": []}
        )  # fmt: skip
    return state


@pytest.fixture
def url(cvat: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    with serving(cvat) as address:
        yield address


def _masks(*options: str) -> Result:
    return CliRunner().invoke(app, ["masks", *options])


def test_it_looks_first_and_stores_when_told(cvat: StandIn, url: str, tmp_path: Path) -> None:
    before = copy.deepcopy(cvat.jobs)

    looked = _masks("--cvat", url, "--task", "5", "--replace")

    assert looked.exit_code == 0, looked.output
    assert "2 rectangles and 0 keyframes" in looked.output
    assert "Nothing was changed. Give --apply to do it." in looked.output
    assert cvat.jobs == before

    done = _masks("--cvat", url, "--task", "5", "--replace", "--apply", "--workers", "1")

    assert done.exit_code == 3, done.output  # the second rectangle lies outside the picture
    assert "1 masks stored; 1 rectangles deleted." in done.output
    assert "job 11, frame 0 (p/0.png), rectangle 1003: " in done.output
    assert "lies outside the image" in done.output
    assert [each["type"] for each in cvat.jobs[11].shapes] == ["rectangle", "mask"]
    assert list(tmp_path.glob("*.journal*")) == []
    left, top, right, bottom = cvat.masks(11)[0]["points"][-4:]
    assert right - left > 50
    assert bottom - top > 50


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give one of --task, --project and --job"),
        (("--task", "5", "--job", "11"), "give one of --task, --project and --job"),
        (("--task", "5", "--out", "x.json"), "it reads and writes the server, no files"),
        (("--task", "5", "--redo"), "it is for files: leave it out with --cvat"),
    ],
)
def test_options_that_do_not_fit_are_told(
    options: tuple[str, ...], sentence: str, url: str
) -> None:
    result = _masks("--cvat", url, *options)

    assert result.exit_code == 2
    assert sentence in result.output


def test_without_the_sdk_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['cvat_sdk'] = None; from iog.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", code, "masks", "--cvat", "http://x", "--task", "5"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 1
    assert "--cvat needs cvat_sdk: install it with `pip install -r requirements-agent.txt`" in (
        done.stderr
    )
