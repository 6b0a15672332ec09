"""Ray's actors: the same masks as worker processes, and no process left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from iog.bulk.ray_mapper import RayMapper
from iog.bulk.records import (
    DEADLY,
    BoxedImage,
    BoxedObject,
    Failure,
    ImageFile,
    ImageOutcome,
    MaskRow,
)
from iog.bulk.task import MaskTask
from iog.errors import SettingsError
from tests.builders import photo
from tests.bulk.fake_ray import FakeRay
from tests.bulk.toy import ToyTask, first_time, image, outcomes_of

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


class Fickle:
    """Ends whoever asks the first time, and then gives a file's bytes."""

    def __init__(self, seen: Path) -> None:
        self._seen = seen

    def __call__(self) -> bytes:
        if first_time(self._seen):
            os._exit(1)
        return photo()


@ray
@pytest.mark.parametrize("actors", [2, pytest.param(1, marks=pytest.mark.long)])
def test_images_that_end_their_actors_fail_alone(
    actors: int, environment: dict[str, str], tmp_path: Path
) -> None:
    """The others share blocks and actors with them, and are lost together with them."""
    files: list[ImageFile] = [photo() for _ in range(24)]
    deadly = (2, 14)
    for number in deadly:
        files[number] = Deadly()
    files[20] = Fickle(tmp_path / "seen")
    box = (10.0, 8.0, 40.0, 30.0)
    images = [
        BoxedImage(number, "", file, (BoxedObject(number, box, "box"),))
        for number, file in enumerate(files)
    ]
    task = MaskTask(threads=1)
    ((_, mask),) = task.outcome(images[0]).outcomes
    assert isinstance(mask, MaskRow)

    with closing(RayMapper(task, actors=actors)) as mapper:
        found = {each.image.number: each.outcomes for each in mapper.map(iter(images))}

    assert (tmp_path / "seen").exists()
    assert found == {
        number: ((number, Failure(DEADLY) if number in deadly else mask),) for number in range(24)
    }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """In Ray's place: it loses every block, so that all images are done again."""
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", fake.data)
    return fake


def outcomes(actors: int, images: list[BoxedImage]) -> dict[int, ImageOutcome]:
    mapper = RayMapper(ToyTask(), actors=actors)
    listed = list(mapper.map(iter(images)))
    found = {each.image.number: each for each in listed}
    assert len(found) == len(listed)
    return found


def test_what_is_lost_is_done_again_one_image_in_an_actor(fake: FakeRay) -> None:
    images = [image(n, name="die" if n in (3, 4, 19) else "") for n in range(20)]

    found = outcomes(4, images)

    for number, each in found.items():
        if number in (3, 4, 19):
            assert each == ImageOutcome.failed(images[number], DEADLY)
        else:
            assert each == outcomes_of(images[number])
    # Each once, and what ended its actor once more with nothing beside it.
    assert Counter(fake.asked) == {n: 1 + (n in (3, 4, 19)) for n in range(20)}
    assert max(fake.beside) == 3
    assert fake.beside[-3:] == [0, 0, 0]
    assert fake.killed == set(range(fake.started)), "one that lives keeps its CPUs"


def test_a_long_run_goes_on_with_as_many_images_after_some_were_lost(fake: FakeRay) -> None:
    assert len(outcomes(1, [image(n, objects=0) for n in range(2050)])) == 2050
    assert fake.data_sets == [1024, 1024, 2]


def test_an_image_whose_actor_ended_by_chance_gets_its_masks(fake: FakeRay, tmp_path: Path) -> None:
    unlucky = replace(image(1), name="die-once", image=str(tmp_path / "seen"))

    found = outcomes(2, [image(0), unlucky, image(2)])

    assert found[1] == outcomes_of(unlucky)
    assert fake.asked.count(1) == 2


def test_actors_that_end_while_they_load_are_replaced(fake: FakeRay) -> None:
    fake.lost_loads = {0, 1, 3, 4}

    assert len(outcomes(1, [image(0), image(1, name="die"), image(2)])) == 3
    assert fake.started == 7


def test_actors_that_never_load_end_the_run(fake: FakeRay) -> None:
    fake.lost_loads = set(range(100))

    with pytest.raises(SettingsError, match=r"Ray's actors cannot start: It died\."):
        outcomes(2, [image(n) for n in range(9)])
    assert fake.started <= 4


def test_actors_for_which_there_is_no_room_are_not_waited_for(fake: FakeRay) -> None:
    fake.room = 1

    assert len(outcomes(4, [image(n) for n in range(9)])) == 9
    assert fake.killed == {0, 1, 2, 3}
