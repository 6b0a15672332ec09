"""How many objects a second `iog masks` makes: beside `iog serve`, the network alone, and Ray.

    python -m benchmarks.bulk                     some five minutes; into benchmarks/results
    python -m benchmarks.bulk --quick             a look, in one; into build/bench

Photographs of 640 x 480 with 8 boxes each are cut from the examples. Everything runs on the same
cores and photographs. A rate is that of the time in which all workers are at work: neither their
start nor their end counts.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from benchmarks.bulk_work import Alone, Noted, Sleeper, Span, overlap, passes_of
from benchmarks.processes import Served, send
from benchmarks.report import cpu, described, slug
from iog.bulk.coco import CocoBoxes
from iog.bulk.journal import Journal
from iog.bulk.local import LocalMapper
from iog.bulk.ray_mapper import RayMapper
from iog.bulk.records import Mapper
from iog.bulk.run import make_masks
from iog.bulk.task import MaskTask
from iog.errors import SettingsError
from iog.settings import available_cores
from iog.tables import Table

__all__ = ["Measured", "main", "write_photos"]

_ROOT = Path(__file__).parent.parent
_EXAMPLES = ("astronaut.jpg", "cat.jpg", "coffee.jpg")
_SIZE = 480, 640
_BOXES = 8
_SLEEP = 0.05
_SIMULATED = (2, 4, 8)
_NAME = "bulk"


@dataclass(frozen=True)
class Measured:
    """A way of making masks, and the objects a second of each round."""

    name: str
    rates: tuple[float, ...]
    note: str = ""

    @property
    def rate(self) -> float:
        """The median."""
        return median(self.rates)


def write_photos(folder: Path, *, images: int) -> Path:
    """Photographs cut from the examples, and a COCO file of boxes on them; the same every time.

    Returns:
        The COCO file; the photographs are beside it.
    """
    chance = np.random.default_rng(0)
    height, width = _SIZE
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(images):
        example = cv2.imread(str(_ROOT / "examples" / _EXAMPLES[number % len(_EXAMPLES)]))
        assert example is not None
        scale = max(height / example.shape[0], width / example.shape[1]) * chance.uniform(1, 1.4)
        larger = cv2.resize(example, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        top = int(chance.integers(0, larger.shape[0] - height + 1))
        left = int(chance.integers(0, larger.shape[1] - width + 1))
        name = f"{number:04}.jpg"
        cv2.imwrite(str(folder / name), larger[top : top + height, left : left + width])
        pictures.append({"id": number, "file_name": name, "height": height, "width": width})
        for _ in range(_BOXES):
            w, h = np.exp(chance.uniform(np.log(32), np.log(320), 2))
            x, y = chance.uniform(0, width - w), chance.uniform(0, height - h)
            bbox = [round(float(value), 2) for value in (x, y, w, h)]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": 1, "bbox": bbox}
            )
    path = folder / "boxes.json"
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": pictures, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


class Bench:
    """The photographs, and what is measured on them.

    Args:
        folder: an empty one, for photographs, journals and outputs.
        images: photographs.
    """

    def __init__(self, folder: Path, *, images: int) -> None:
        self._folder = folder
        self._coco = write_photos(folder, images=images)
        self._images = images
        self._runs = 0
        self.cores = available_cores()
        some = islice(CocoBoxes(self._coco, folder, folder / "none.json").images(), 8)
        self.passes = passes_of(list(some))

    def run(self, mapper: Mapper, spans: Path) -> float:
        """Objects a second of a whole `iog masks`: COCO file, journal and output included."""
        self._runs += 1
        out = self._folder / f"out-{self._runs}.json"
        boxes = CocoBoxes(self._coco, self._folder, out)
        with closing(Journal(out.with_suffix(".journal"), {})) as journal, closing(mapper):
            summary = make_masks(boxes, boxes, mapper, journal, done=lambda _: None)
            journal.remove()
        assert summary.made + summary.failed == self._images * _BOXES
        return overlap(Span.all_in(spans))

    def spans(self) -> Path:
        """A new folder for what a round's workers note."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def local(self) -> float:
        """`iog masks`, one worker with one thread for each core."""
        spans = self.spans()
        return self.run(LocalMapper(Noted(spans, threads=1), self.cores), spans)

    def ray(self) -> float:
        """The same with Ray's actors."""
        spans = self.spans()
        return self.run(RayMapper(Noted(spans, threads=1), actors=self.cores), spans)

    def alone(self) -> float:
        """What the network alone needs of an object, in the same worker processes."""
        spans = self.spans()
        return self.run(LocalMapper(Alone(spans, passes=self.passes, threads=1), self.cores), spans)

    def simulated(self, actors: int) -> float:
        """A stand-in that sleeps for a fixed time, in so many of Ray's actors."""
        spans = self.spans()
        return self.run(RayMapper(Sleeper(spans, seconds=_SLEEP), actors=actors), spans)

    def served(self, *, workers: int, at_once: int, output: str | None, images: int) -> float:
        """A request for each box; a body holds its whole image."""
        server = Served(workers=workers, environment={"IOG_THREADS": str(self.cores // workers)})
        try:
            bodies = list(self._bodies(images, output))
            warm, timed = bodies[: 2 * _BOXES], bodies[2 * _BOXES :]
            asyncio.run(_sent(server.address, warm, at_once))
            start = time.perf_counter()
            asyncio.run(_sent(server.address, timed, at_once))
            return len(timed) / (time.perf_counter() - start)
        finally:
            server.close()

    def _bodies(self, images: int, output: str | None) -> Iterator[bytes]:
        content = json.loads(self._coco.read_text())
        for picture in content["images"][: images + 2]:
            data = (self._folder / picture["file_name"]).read_bytes()
            image = base64.b64encode(data).decode()
            for entry in content["annotations"]:
                if entry["image_id"] == picture["id"]:
                    x, y, w, h = entry["bbox"]
                    body: dict[str, Any] = {"image": image, "obj_bbox": [[x, y], [x + w, y + h]]}
                    if output is not None:
                        body["output"] = output
                    yield json.dumps(body).encode()


async def _sent(address: tuple[str, int], bodies: Sequence[bytes], at_once: int) -> None:
    """Send all, so many at a time."""
    waiting = iter(bodies)

    async def sender() -> None:
        for body in waiting:
            status = await send(address, body)
            assert status == 200, status

    await asyncio.gather(*(sender() for _ in range(at_once)))


def slopes(folder: Path) -> dict[str, float]:
    """Milliseconds of one thread: to open an image, for a box, and for the network's part of it."""
    coco = write_photos(folder, images=12)
    images = list(CocoBoxes(coco, folder, folder / "none.json").images())
    task = MaskTask(threads=1)
    task.outcome(images[0])
    alone = Alone(folder, passes=passes_of(images), threads=1)
    alone.outcome(images[0])

    def milliseconds(work: Callable[[Any], object], given: Sequence[Any]) -> float:
        times = []
        for each in given:
            start = time.perf_counter()
            work(each)
            times.append(time.perf_counter() - start)
        return median(times) * 1e3

    def opened(image: Any) -> object:  # noqa: ANN401
        return cv2.imdecode(np.frombuffer(Path(image.image).read_bytes(), np.uint8), 1)

    whole = milliseconds(task.outcome, images[1:])
    return {
        "open a JPEG of 640 x 480": milliseconds(opened, images),
        "a box, with all that belongs to it": whole / _BOXES,
        "the network's part of a box": milliseconds(alone.outcome, images[1:]) / _BOXES,
    }


def tables(measured: Sequence[Measured], simulated: Sequence[Measured]) -> list[Table]:
    """The figures for people."""
    rates = {each.name: each.rate for each in measured}
    limit, local = rates.get("network alone"), rates["iog masks"]
    rows = [
        (
            each.name,
            f"{each.rate:.1f}",
            " ".join(f"{rate:.1f}" for rate in each.rates),
            f"{local / each.rate:.2f}",
            f"{each.rate / limit:.2f}" if limit else "",
            each.note,
        )
        for each in measured
    ]
    head = ("way", "objects/s", "rounds", "`iog masks` / this", "of the limit", "what it is")
    found = [Table("Objects a second on the same cores and photographs", head, tuple(rows))]
    lines = [
        (each.name, f"{each.rate:.1f}", f"{each.rate * _SLEEP / int(each.name):.3f}")
        for each in simulated
    ]
    if lines:
        title = f"Simulated: actors of Ray that sleep {_SLEEP * 1e3:.0f} ms for each object"
        found.append(Table(title, ("actors", "objects/s", "of what they could"), tuple(lines)))
    return found


def write(
    folder: Path,
    machine: dict[str, str],
    found: Sequence[Table],
    figures: dict[str, Any],
    *,
    today: date,
) -> Path:
    """Write ``<date>-<cpu>-bulk.md`` and its JSON; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{today.isoformat()}-{slug(cpu())}-{_NAME}"
    (folder / f"{stem}.json").write_text(
        json.dumps({"machine": machine, **figures}, indent=1) + "\n"
    )
    parts = [
        f"# Masks for a data set, {today.isoformat()}",
        "`python -m benchmarks.bulk` wrote this. [docs/bulk.md](../../docs/bulk.md) says what it "
        "means.",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()),
        *(f"## {table.title}\n\n{table.markdown()}" for table in found),
    ]
    path = folder / f"{stem}.md"
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few photographs, one round")
    parser.add_argument("--report", type=Path, help="where to [default: benchmarks/results]")
    given = parser.parse_args(arguments)
    images, rounds = (16, 1) if given.quick else (80, 2)
    few = images // 2
    report = given.report or (_ROOT / ("build/bench" if given.quick else "benchmarks/results"))

    with tempfile.TemporaryDirectory(prefix="iog-bulk-") as folder:
        bench = Bench(Path(folder), images=images)
        cores = bench.cores
        machine = described(cores=cores)
        print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
        ways: dict[str, tuple[Callable[[], float], str]] = {
            "iog masks": (bench.local, f"{cores} workers of one thread"),
            "network alone": (
                bench.alone,
                f"{bench.passes:.2f} passes a box, as these boxes need, in {cores} workers",
            ),
            "requests, one by one": (
                lambda: bench.served(workers=1, at_once=1, output=None, images=few // 2),
                f"to `iog serve` as it starts, one worker of {cores} threads; answers as `mask`",
            ),
            "requests, best": (
                lambda: bench.served(workers=cores, at_once=2 * cores, output="rle", images=few),
                f"to `iog serve --workers {cores}`, {2 * cores} at a time; answers as `rle`",
            ),
        }
        if _has_ray():
            ways["iog masks --engine ray"] = bench.ray, f"{cores} actors of one thread"
        else:
            print("Ray is not installed (`make ray`): its rows are left out.")
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):  # by turns, so that a slow minute is everybody's
            for name, (way, _) in ways.items():
                rates[name].append(way())
                print(f"{name}: {rates[name][-1]:.1f} objects/s", flush=True)
        measured = [Measured(n, tuple(rates[n]), note) for n, (_, note) in ways.items()]
        simulated = []
        for actors in _SIMULATED if _has_ray() else ():
            simulated.append(Measured(str(actors), (bench.simulated(actors),)))
            print(f"{actors} actors that sleep: {simulated[-1].rate:.1f} objects/s", flush=True)
        (Path(folder) / "slopes").mkdir()
        parts = slopes(Path(folder) / "slopes")
    found = tables(measured, simulated)
    rows = tuple((name, f"{value:.2f}") for name, value in parts.items())
    found.append(Table("Milliseconds of one thread", ("what", "ms"), rows))
    figures = {
        "rates": {each.name: each.rates for each in measured},
        "simulated": {each.name: each.rate for each in simulated},
        "sleep": _SLEEP,
        "milliseconds": parts,
    }
    path = write(report, machine, found, figures, today=date.today())
    print(path.read_text())


def _has_ray() -> bool:
    try:
        import ray.data  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        raise SystemExit(f"Error: {error}") from None
