"""How the cost of a click grows with what should not matter: a curve and its slope each.

A slope is that of the straight line with the least squared distances, so that one figure says what
another megapixel or another click costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import RequestFiles, SizeWH
from benchmarks.processes import BenchWorker, Say, Subject

__all__ = ["Curve", "Point", "measure_sweeps"]

_MEGAPIXELS = (0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 50.0)
_SIDES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_CLICKS = (1, 2, 5, 10, 15, 20)
_THRESHOLDS = (0.99, 0.9, 0.7, 0.5, 0.3, 0.1, 0.01)
_BOX_PX = 300
_LARGE: SizeWH = (4000, 3000)
_USUAL: SizeWH = (1920, 1080)


@dataclass(frozen=True)
class Point:
    """One request, answered as a first and as a next click: medians in milliseconds.

    Attributes:
        at: where on the axis.
        first_ms: a first click.
        next_ms: a next click on the same box.
        network_ms: of the first click, the network's part.
        next_network_ms: of the next click, likewise.
    """

    at: float
    first_ms: float
    next_ms: float
    network_ms: float
    next_network_ms: float


@dataclass(frozen=True)
class Curve:
    """The points of one sweep; ``axis`` names what grows, with its unit."""

    name: str
    axis: str
    points: tuple[Point, ...]

    def slopes(self) -> dict[str, float]:
        """Milliseconds for each unit of the axis, of every time in a point."""
        at = [point.at for point in self.points]
        times = {name: [asdict(p)[name] for p in self.points] for name in _TIMES}
        times["rest_ms"] = [p.first_ms - p.network_ms for p in self.points]
        times["next_rest_ms"] = [p.next_ms - p.next_network_ms for p in self.points]
        return {name: _slope(at, values) for name, values in times.items()}


_TIMES = ("first_ms", "next_ms")


def measure_sweeps(
    subject: Subject, bodies: RequestFiles, *, rounds: int, quick: bool, say: Say
) -> Iterator[Curve]:
    """The four curves of one subject.

    Args:
        subject: ours.
        bodies: the requests.
        rounds: clicks of each kind at each point.
        quick: every other point only, and no image above 12 megapixels.
        say: told what happens.
    """
    step = 2 if quick else 1
    with BenchWorker(subject) as worker:

        def point(at: float, first: Path, later: Path) -> Point:
            say(f"sweep: {first.stem}")
            return _point(worker, at, first, later, rounds)

        points = []
        for megapixels in [m for m in _MEGAPIXELS if not quick or m <= 12][::step]:
            size = _size(megapixels)
            half = _BOX_PX / 2 / size[0], _BOX_PX / 2 / size[1]
            box = 0.5 - half[0], 0.5 - half[1], 0.5 + half[0], 0.5 + half[1]
            two = (bodies.write(size, box=box, clicks=n) for n in (1, 2))
            points.append(point(megapixels, *two))
        yield Curve("image size", "megapixels", tuple(points))
        points = []
        for side in _SIDES[::step]:
            box = 0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2
            two = (bodies.write(_LARGE, box=box, clicks=n) for n in (1, 2))
            points.append(point(side * side * 12, *two))
        yield Curve("box size", "megapixels of a 12-megapixel image", tuple(points))
        one = bodies.write(_USUAL, clicks=1)
        points = [point(n, one, bodies.write(_USUAL, clicks=n)) for n in _CLICKS[::step]]
        yield Curve("clicks", "clicks", tuple(points))
        points = []
        for threshold in _THRESHOLDS[::step]:
            two = (bodies.write(_LARGE, clicks=n, threshold=threshold) for n in (1, 2))
            first, later = two
            area = worker.ask("click", body=str(later), area=True)["area"] / 1e6
            points.append(point(area, first, later))
        yield Curve("mask area", "megapixels of mask", tuple(sorted(points, key=lambda p: p.at)))


def _point(worker: BenchWorker, at: float, first: Path, later: Path, rounds: int) -> Point:
    replies: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for forget, body in ((True, first), (False, later)):
            reply = worker.ask("click", body=str(body), forget=forget)
            if turn:
                replies[forget].append(reply)

    def median(forget: bool, stage: str | None = None) -> float:
        found = replies[forget]
        times = [reply["stages"][stage] if stage else reply["ms"] for reply in found]
        return round(float(np.median(times)), 2)

    return Point(at, median(True), median(False), median(True, "network"), median(False, "network"))


def _size(megapixels: float) -> SizeWH:
    """Width and height, 4 to 3 and in whole blocks of a JPEG."""
    height = (megapixels * 1e6 * 3 / 4) ** 0.5
    return round(height * 4 / 3 / 16) * 16, round(height / 16) * 16


def _slope(at: Sequence[float], values: Sequence[float]) -> float:
    return round(float(np.polyfit(at, values, 1)[0]), 3) if len(set(at)) > 1 else 0.0
