from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from iog.bulk.local import LocalMapper
from iog.bulk.records import BoxedImage, Failure, ImageOutcome
from iog.errors import SettingsError
from tests.bulk.toy import ToyTask, image, outcomes_of

ROOT = Path(__file__).parents[2]
WAIT = 60.0


@pytest.fixture
def mapper() -> Iterator[LocalMapper]:
    mapper = LocalMapper(ToyTask(), 2)
    yield mapper
    mapper.close()


def _children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and "multiprocessing.spawn" in " ".join(child.cmdline())
    ]


@pytest.fixture
def workers() -> Callable[[], list[psutil.Process]]:
    """Lists the worker processes since the test began: other tests may keep a server."""
    before = _children()
    return lambda: [child for child in _children() if child not in before]


def _by_number(found: Iterator[ImageOutcome]) -> dict[int, ImageOutcome]:
    listed = list(found)
    assert len({each.image.number for each in listed}) == len(listed)
    return {each.image.number: each for each in listed}


def test_every_image_is_answered_once(
    mapper: LocalMapper, workers: Callable[[], list[psutil.Process]]
) -> None:
    images = [image(number, objects=number % 3) for number in range(50)]
    found = _by_number(mapper.map(iter(images)))
    assert found == {each.number: outcomes_of(each) for each in images}
    mapper.close()
    assert not workers()


def test_without_images_no_worker_starts(
    mapper: LocalMapper, workers: Callable[[], list[psutil.Process]]
) -> None:
    assert list(mapper.map(iter(()))) == []
    assert not workers()


def test_images_are_taken_as_they_are_needed(mapper: LocalMapper) -> None:
    taken: list[int] = []

    def images() -> Iterator[BoxedImage]:
        for number in range(1000):
            taken.append(number)
            yield image(number)

    found = mapper.map(images())
    for answered in range(1, 20):
        next(found)
        assert len(taken) <= answered + 5  # two for each of two workers, and the one that waits


def test_large_images_and_answers_do_not_block_each_other(mapper: LocalMapper) -> None:
    """Both are larger than a pipe holds, so host and worker could wait for each other."""
    images = [image(n, objects=2000, data=bytes(5_000_000)) for n in range(6)]
    assert len(_by_number(mapper.map(iter(images)))) == 6


def test_an_image_that_kills_its_worker_twice_fails_alone(mapper: LocalMapper) -> None:
    images = [image(n, name="die" if n in (3, 4) else "") for n in range(12)]
    found = _by_number(mapper.map(iter(images)))
    assert len(found) == 12
    for number, each in found.items():
        if number in (3, 4):
            for _, outcome in each.outcomes:
                assert isinstance(outcome, Failure)
                assert "died twice" in outcome.reason
        else:
            assert each == outcomes_of(images[number])


def test_an_image_whose_worker_died_by_chance_is_done_again(
    mapper: LocalMapper, tmp_path: Path
) -> None:
    images = [image(n) for n in range(8)]
    one = images[5]
    images[5] = BoxedImage(one.number, "die-once", str(tmp_path / "seen"), one.objects)
    assert _by_number(mapper.map(iter(images)))[5] == outcomes_of(images[5])


def test_a_model_that_cannot_be_loaded_ends_it_with_its_own_error(
    workers: Callable[[], list[psutil.Process]],
) -> None:
    mapper = LocalMapper(ToyTask("missing"), 2)
    with pytest.raises(ValueError, match="no such model"):
        list(mapper.map(iter([image(1), image(2)])))
    mapper.close()
    assert not workers()


def test_a_worker_that_dies_while_it_loads_ends_it() -> None:
    mapper = LocalMapper(ToyTask("deadly"), 1)
    with pytest.raises(SettingsError, match="died while it loaded the model"):
        list(mapper.map(iter([image(1)])))
    mapper.close()


def test_no_worker_outlives_a_killed_host() -> None:
    code = (
        "import sys; from itertools import count; from iog.bulk.local import LocalMapper; "
        "from tests.bulk.toy import ToyTask, image\n"
        "if __name__ == '__main__':\n"
        "    for _ in LocalMapper(ToyTask(), 2).map(map(image, count())): print(flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        for _ in range(20):
            host.stdout.readline()
        workers = psutil.Process(host.pid).children(recursive=True)
        assert len(workers) >= 2
        os.kill(host.pid, signal.SIGKILL)
        host.wait()
    end = time.monotonic() + WAIT
    while time.monotonic() < end and any(each.is_running() for each in workers):
        time.sleep(0.05)
    assert not any(each.is_running() and each.status() != "zombie" for each in workers)
