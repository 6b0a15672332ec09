"""What the workers of `benchmarks.bulk` do; each notes when it was at work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataloaders.geometry import Size
from iog.bulk.records import BoxedImage, MaskRow, Outcome
from iog.bulk.task import MaskTask

__all__ = ["Alone", "Noted", "Sleeper", "Span", "overlap", "passes_of"]


@dataclass(frozen=True)
class Span:
    """A worker's work on an image."""

    worker: int
    begin: float
    end: float
    objects: int

    @classmethod
    def all_in(cls, folder: Path) -> list[Span]:
        """What the workers noted in a folder."""
        return [
            cls(int(path.stem), *json.loads(line))
            for path in folder.glob("*.txt")
            for line in path.read_text().splitlines()
        ]


def overlap(spans: Sequence[Span]) -> float:
    """Objects a second in the time in which all workers are at work.

    It begins when the last of them begins with its second image (the first one warms it up), and
    ends when the first of them ends with its last. What lies partly in it counts in part.
    """
    by_worker: dict[int, list[Span]] = {}
    for span in sorted(spans, key=lambda each: each.begin):
        by_worker.setdefault(span.worker, []).append(span)
    begin = max(each[1 if len(each) > 1 else 0].begin for each in by_worker.values())
    end = min(each[-1].end for each in by_worker.values())
    if end <= begin:
        raise ValueError("The workers were not at work at the same time: give more images.")
    objects = sum(
        span.objects
        * max(0.0, min(span.end, end) - max(span.begin, begin))
        / (span.end - span.begin)
        for span in spans
    )
    return objects / (end - begin)


class Noted(MaskTask):
    """The task of `iog masks`, which writes down when it works on an image.

    Args:
        folder: of this machine, for a file of each worker.
        options: see ``MaskTask``.
    """

    def __init__(self, folder: Path, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._notes = folder

    def _outcomes(
        self,
        source: Any,  # noqa: ANN401
        boxes: Sequence[Any],
        points: Sequence[Any] | None,
        *,
        size: Size | None = None,
    ) -> list[Outcome]:
        begin = time.time()
        found = self._made(source, boxes, points, size=size)
        with (self._notes / f"{os.getpid()}.txt").open("a") as file:
            file.write(json.dumps([begin, time.time(), len(boxes)]) + "\n")
        return found

    def _made(
        self,
        source: Any,  # noqa: ANN401
        boxes: Sequence[Any],
        points: Sequence[Any] | None,
        *,
        size: Size | None,
    ) -> list[Outcome]:
        return super()._outcomes(source, boxes, points, size=size)


_ROW = MaskRow((480, 640), "0", (0, 0, 1, 1), 1, 0.5)


class Alone(Noted):
    """Runs the network as often as the boxes need it, and does nothing else with them.

    Args:
        folder, options: see ``Noted``.
        passes: of a box, on average; see ``passes_of``.
    """

    def __init__(self, folder: Path, *, passes: float, **options: Any) -> None:  # noqa: ANN401
        super().__init__(folder, **options)
        self._passes = passes

    def _made(
        self,
        source: Any,  # noqa: ANN401
        boxes: Sequence[Any],
        points: Sequence[Any] | None,
        *,
        size: Size | None,
    ) -> list[Outcome]:
        predictor = self.load()
        engine, side = predictor._engine, predictor.rule.input_size
        given = np.zeros((5, side, side), np.float32)
        clicks = np.zeros((engine.click_maps, side, side), np.float32)
        for _ in range(round(self._passes * len(boxes))):
            engine.decode(engine.encode(given), clicks)
        return [_ROW] * len(boxes)


class _Counting:
    """An engine that counts its passes."""

    def __init__(self, engine: Any) -> None:  # noqa: ANN401
        self._engine = engine
        self.passes = 0

    def encode(self, x: Any) -> Any:  # noqa: ANN401
        self.passes += 1
        return self._engine.encode(x)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._engine, name)


def passes_of(images: Sequence[BoxedImage]) -> float:
    """Passes of the network that a box of these images needs, on average: one, or two."""
    task = MaskTask(threads=1)
    predictor: Any = task.load()
    predictor._engine = counting = _Counting(predictor._engine)
    for image in images:
        task.outcome(image)
    return counting.passes / sum(len(image.objects) for image in images)


class Sleeper(Noted):
    """A stand-in with a fixed cost: sleeps for each object, and loads nothing.

    Args:
        folder: see ``Noted``.
        seconds: for an object.
    """

    def __init__(self, folder: Path, *, seconds: float) -> None:
        super().__init__(folder)
        self._seconds = seconds

    def load(self) -> Any:  # noqa: ANN401
        """Nothing."""

    def _made(
        self,
        source: Any,  # noqa: ANN401
        boxes: Sequence[Any],
        points: Sequence[Any] | None,
        *,
        size: Size | None,
    ) -> list[Outcome]:
        time.sleep(self._seconds * len(boxes))
        return [_ROW] * len(boxes)
