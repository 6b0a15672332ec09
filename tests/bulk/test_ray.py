"""Ray's actors: the same masks as worker processes, and no process left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from iog.bulk.ray_mapper import RayMapper
from iog.bulk.records import DEADLY, BoxedImage, BoxedObject, Failure, MaskRow
from iog.bulk.task import MaskTask
from iog.errors import SettingsError
from tests.builders import photo

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BOXES = {
    "astronaut.jpg": [(5, 4, 365, 508), (180, 60, 90, 120)],
    "cat.jpg": [(40, 30, 300, 250), (9000, 1, 5, 5)],
    "coffee.jpg": [(150, 60, 260, 280)],
    "missing.jpg": [(1, 1, 9, 9)],
}


def test_without_ray_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(SettingsError, match="make ray"):
        RayMapper(MaskTask())


class Deadly:
    """Instead of giving a file's bytes, ends whoever asks."""

    def __call__(self) -> bytes:
        os._exit(1)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO file with boxes on the examples, of which two cannot have a mask."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(12):
        name = list(BOXES)[number % len(BOXES)]
        images.append({"id": number, "file_name": f"{number}-{name}"})
        if name != "missing.jpg":
            shutil.copyfile(EXAMPLES / name, tmp_path / f"{number}-{name}")
        for box in BOXES[name]:
            annotations.append({"id": len(annotations), "image_id": number, "bbox": box})
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def command(coco: Path, out: str, *options: str) -> list[str]:
    files = ("--coco", str(coco), "--images", str(coco.parent), "--out", str(coco.with_name(out)))
    return [sys.executable, "-m", "iog", "masks", *files, *options]


@pytest.fixture
def environment(plain_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {**plain_environment, "HOME": str(tmp_path / "home")}


ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="`make ray` was not run",
)


@ray
def test_the_output_is_that_of_worker_processes(coco: Path, environment: dict[str, str]) -> None:
    for out, options in (
        ("local.json", ("--workers", "2")),
        ("ray.json", ("--engine", "ray", "--actors", "2")),
    ):
        done = subprocess.run(
            command(coco, out, *options), cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 3, done.stderr
        assert "12 masks made, 6 failed." in done.stderr

    local, other = (coco.with_name(name).read_bytes() for name in ("local.json", "ray.json"))
    assert local == other
    assert b'"score"' in local


@ray
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)],
)
def test_nothing_of_it_outlives_its_run(
    coco: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    run = subprocess.Popen(
        command(coco, "out.json", "--engine", "ray", "--actors", "2"),
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    with run.stderr:
        assert any("Execution plan" in line for line in run.stderr)  # the actors start now
        begun = psutil.Process(run.pid).children(recursive=True)
        assert any("raylet" in each.name() for each in begun)
        run.send_signal(number)
        told = run.stderr.read() if number != signal.SIGKILL else ""
    status = run.wait(120)
    # After SIGKILL, two of Ray's agents give up on the others only after a minute.
    _, left = psutil.wait_procs(begun, timeout=150)

    assert not left
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130), told
    if number != signal.SIGKILL:
        assert "Give the same command again to go on." in told
        assert coco.with_name("out.json.journal").exists()


@ray
def test_an_image_that_ends_its_actors_fails_alone(environment: dict[str, str]) -> None:
    def images() -> Iterator[BoxedImage]:
        for number in range(6):
            image = Deadly() if number == 2 else photo()
            objects = (BoxedObject(number, (10.0, 8.0, 40.0, 30.0), "box"),)
            yield BoxedImage(number, "", image, objects)

    with closing(RayMapper(MaskTask(threads=1), actors=2)) as mapper:
        found = {each.image.number: each.outcomes[0][1] for each in mapper.map(images())}

    assert found.pop(2) == Failure(DEADLY)
    assert sorted(found) == [0, 1, 3, 4, 5]
    assert all(isinstance(each, MaskRow) or "no object" in each.reason for each in found.values())
