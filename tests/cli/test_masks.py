"""`iog masks` as it is typed, and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner, Result

from iog import cli

ROOT = Path(cli.__file__).parents[2]
WAIT = 240.0
"""Seconds until a test gives up: a busy machine may take very long."""

Iog = Callable[..., Result]


def write_data_set(folder: Path, *, photos: int, boxes: int = 2) -> None:
    """Photographs of 64 x 48 pixels with noise and discs, and a COCO file of boxes around these."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(photos):
        pixels = rng.integers(0, 120, (48, 64, 3)).astype(np.uint8)
        for _ in range(boxes):
            x, y, radius = (int(v) for v in rng.integers((14, 14, 5), (50, 34, 12)))
            cv2.circle(pixels, (x, y), radius, [int(v) for v in rng.integers(90, 255, 3)], -1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [x - radius, y - radius, 2 * radius, 2 * radius],
                }
            )
        name = f"{number:04}.png"
        cv2.imwrite(str(folder / "photos" / name), pixels)
        images.append({"id": number, "file_name": name, "height": 48, "width": 64})
    order = rng.permutation(len(annotations))  # COCO's are not sorted by image
    content = {
        "images": images,
        "annotations": [annotations[k] for k in order],
        "categories": [{"id": 1, "name": "disc"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))


def _command(folder: Path, out: str, *more: str) -> list[str]:
    given = ["--coco", "boxes.json", "--images", "photos", "--out", out, "--workers", "2", *more]
    return [sys.executable, "-m", "iog", "masks", *given]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the command runs in, with a data set of 6 photographs and 12 boxes."""
    write_data_set(tmp_path, photos=6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IOG_MODEL", raising=False)
    monkeypatch.setenv("IOG_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    monkeypatch.setenv("IOG_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def masks(here: Path) -> Iog:
    def run(*arguments: str, images: str = "photos", out: str = "masks.json") -> Result:
        given = ["--coco", "boxes.json", "--images", images, "--out", out, "--workers", "1"]
        return CliRunner().invoke(cli.app, ["masks", *given, *arguments])

    return run


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_every_box_gets_a_mask(masks: Iog, here: Path) -> None:
    result = masks()
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[0] == "12 objects want a mask, 0 are kept."
    assert result.stderr.splitlines()[-1] == "12 masks made, 0 failed."
    content = json.loads((here / "masks.json").read_text())
    assert all(each["segmentation"]["size"] == [48, 64] for each in content["annotations"])
    assert [each["id"] for each in content["annotations"]] != list(range(1, 13))
    assert {path.name for path in here.iterdir()} == {"photos", "boxes.json", "masks.json"}


def test_what_failed_is_listed_and_the_rest_is_done(masks: Iog, here: Path) -> None:
    (here / "photos" / "0001.png").unlink()
    (here / "photos" / "0002.png").write_text("no photograph")

    def change(content: dict[str, Any]) -> None:
        first = next(each for each in content["annotations"] if each["image_id"] == 0)
        first.update(id=77, bbox=[500, 500, 9, 9])

    _edit(here / "boxes.json", change)
    result = masks()
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[2] == "7 masks made, 5 failed."
    *listed, how, command = lines[3:]
    listed.sort()
    assert len(listed) == 5
    assert how.startswith("When that is mended, this makes only what is missing")
    assert command == "iog masks --coco masks.json --images photos --out again.json"
    assert listed[0].startswith("0000.png, annotation 77: The box from (500, 500) to (509, 509)")
    assert "0001.png: No such file or directory" in listed[1]
    assert "of no known format" in listed[3]
    done = json.loads((here / "masks.json").read_text())["annotations"]
    assert sum("segmentation" in each for each in done) == 7

    again = CliRunner().invoke(cli.app, [*command.split()[1:], "--workers", "1"])
    assert again.stderr.splitlines()[0] == "5 objects want a mask, 7 are kept."


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"out": "photos/0001.png"}, "is there already"),
        ({"images": "nowhere"}, "nowhere is no folder"),
        ({"out": "no/folder/masks.json"}, "no/folder is no folder: make it first"),
        ({"out": "masks.zip"}, "COCO is one file: give a name that ends in .json, not masks.zip"),
        ("--data coco:boxes.json", "give one of --coco and --data"),
        ("--points-field clicks", "boxes.json: no annotation has the key 'clicks'"),
        ("--url http://127.0.0.1:9 --model iog-lite", "has a model of its own: leave it out"),
        ("--tolerance 0", "--form rle is exact: give --form polygon, or leave it out"),
        *((f"--{name}", "it belongs to --cvat")
          for name in ("apply", "replace", "job 1", "task 1", "project 1")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(
    masks: Iog, arguments: dict[str, str] | str, wanted: str
) -> None:
    given = arguments.split() if isinstance(arguments, str) else []
    result = masks(*given, **({} if isinstance(arguments, str) else arguments))
    assert result.exit_code in (1, 2)
    assert wanted in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert not list(Path().glob("*.journal*"))


def test_an_unknown_model_and_a_cut_file_too(masks: Iog, here: Path) -> None:
    result = masks("--model", "iog-light")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: There are no weights called 'iog-light'")
    text = (here / "boxes.json").read_text()
    (here / "boxes.json").write_text(text[:-40])
    result = masks()
    assert result.exit_code == 1
    assert "boxes.json ends too soon" in result.stderr
    assert not (here / "masks.json.journal").exists()


class Life:
    """One `iog masks` with a process group of its own."""

    def __init__(self, folder: Path, out: str, *more: str) -> None:
        self._out = folder / out
        self._process = subprocess.Popen(
            _command(folder, out, *more),
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        try:
            _, told = self._process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        return self._process.returncode, told

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def wait_for_outcomes(self, nbytes: int = 60_000) -> None:
        """Wait until the journal has grown by some bytes since its tables were made."""
        log = self._out.with_name(self._out.name + ".journal-wal")
        first, end = None, time.monotonic() + WAIT
        while time.monotonic() < end and self._process.poll() is None:
            size = log.stat().st_size if log.exists() else 0
            first = size if first is None and size else first
            if first is not None and size >= first + nbytes:
                return
            time.sleep(0.01)

    def kill_after(self, seconds: float) -> bool:
        """Kill the whole group at that moment; False if it had ended by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=WAIT)
        return self._process.returncode == -signal.SIGKILL

    def send(self, number: int, *, group: bool) -> None:
        (os.killpg if group else os.kill)(self._process.pid, number)


def _killed(folder: Path, *, kills: int, seed: int) -> None:
    """Kill a run at random moments; whatever comes of it equals an unbroken run byte for byte.

    A run that ends between two kills is compared and begun again.
    """
    start = time.monotonic()
    status, told = Life(folder, "unbroken.json").wait()
    longest = (time.monotonic() - start) / 3
    assert status == 0, told
    expected = (folder / "unbroken.json").read_bytes()
    out = folder / "masks.json"
    rng = random.Random(seed)
    killed = 0
    while killed < kills:
        killed += Life(folder, out.name).kill_after(rng.uniform(0, longest))
        if out.exists():  # the journal may be there still
            assert out.read_bytes() == expected
            for path in folder.glob("masks.json*"):
                path.unlink()
    status, told = Life(folder, out.name).wait()
    assert status == 0, told
    assert out.read_bytes() == expected
    left = {path.name for path in folder.iterdir()}
    assert left == {"photos", "boxes.json", "unbroken.json", "masks.json"}


def test_a_run_killed_three_times_ends_as_an_unbroken_one(here: Path) -> None:
    _killed(here, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_of_200_images_killed_twenty_times_ends_as_an_unbroken_one(
    here: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    write_data_set(folder, photos=200)
    _killed(folder, kills=20, seed=2)


def _many(folder: Path) -> Path:
    many = folder / "many"
    write_data_set(many, photos=60)
    return many


def _gone(workers: list[psutil.Process]) -> None:
    """Wait for the end of processes, of which there is at least one."""
    assert workers
    end = time.monotonic() + WAIT
    while time.monotonic() < end and any(each.is_running() for each in workers):
        time.sleep(0.05)
    assert not any(each.is_running() for each in workers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_it_goes_on_from_there(here: Path, number: int) -> None:
    folder = _many(here)
    life = Life(folder, "masks.json")
    life.wait_for_outcomes()
    workers = life.workers()
    life.send(number, group=number == signal.SIGINT)  # a terminal tells the whole group
    status, told = life.wait()
    assert status == 130, told
    assert "Give the same command again to go on." in told
    assert "Traceback" not in told
    _gone(workers)
    assert not (folder / "masks.json").exists()
    status, told = Life(folder, "masks.json").wait()
    assert status == 0, told
    assert "of them were finished before." in told


def test_another_model_or_input_does_not_go_on_with_a_journal(here: Path) -> None:
    folder = _many(here)
    life = Life(folder, "masks.json")
    life.wait_for_outcomes()
    life.send(signal.SIGKILL, group=True)
    life.wait()
    _edit(folder / "boxes.json", lambda content: content.update(info={}))
    status, told = Life(folder, "masks.json", "--redo").wait()
    assert status == 1
    assert "finished objects of a run with input sha256" in told
    assert "redo 'False', not 'True'" in told


def test_no_worker_outlives_a_run_that_is_killed_alone(here: Path) -> None:
    life = Life(_many(here), "masks.json")
    life.wait_for_outcomes()
    workers = life.workers()
    life.send(signal.SIGKILL, group=False)
    life.wait()
    _gone(workers)
