"""Stand-ins for the model: tasks that make a mask at once, or do what an image's name says."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iog.bulk.records import BoxedImage, BoxedObject, Failure, ImageOutcome, MaskRow, Outcome
from iog.bulk.task import MaskTask
from iog.masks import Mask

SIZE = (40, 56)


def box_mask(number: int) -> MaskRow:
    """A rectangle that differs from object to object."""
    pixels = np.ones((1 + number % 7, 1 + number % 11), np.uint8)
    mask = Mask.of_region(pixels, (number % 13, number % 17), SIZE, score=1 / (2 + number))
    return MaskRow.of(mask)


def outcomes_of(image: BoxedImage) -> ImageOutcome:
    """A rectangle for each object; none for those whose box is at 13."""
    found: list[tuple[int, Outcome]] = [
        (each.number, Failure("Unlucky.") if each.box[0] == 13 else box_mask(each.number))
        for each in image.objects
    ]
    return ImageOutcome(image, tuple(found))


def image(number: int, *, name: str = "", objects: int = 2, data: bytes = b"") -> BoxedImage:
    """An image whose objects have the numbers 10 x ``number`` and on."""
    boxed = tuple(
        BoxedObject(10 * number + k, (1.0, 2.0, 30.0, 20.0), f"annotation {k}")
        for k in range(objects)
    )
    return BoxedImage(number, name or f"{number}.png", data or f"{number}.png", boxed)


class ToyTask(MaskTask):
    """Answers without a model.

    An image called ``die`` ends its worker, ``die-once`` only the first time: ``image`` is then the
    path of a file that says so.
    """

    def load(self) -> Any:  # noqa: ANN401
        if self._model == "missing":
            raise ValueError("There is no such model.")
        if self._model == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)

    def outcome(self, image: BoxedImage) -> ImageOutcome:
        if image.name == "die" or (image.name == "die-once" and first_time(Path(str(image.image)))):
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes_of(image)


class ToyMapper:
    """A mapper in this process; a stand-in for workers.

    Args:
        stop_after: raises ``KeyboardInterrupt`` after so many images.
        order: shuffles each so many images, as several workers do.
    """

    def __init__(self, *, stop_after: int | None = None, order: Sequence[int] = (0,)) -> None:
        self.seen: list[int] = []
        self._answered = 0
        self._stop_after = stop_after
        self._order = order

    def map(self, images: Any) -> Any:  # noqa: ANN401
        waiting: list[BoxedImage] = []
        for image in images:
            waiting.append(image)
            if len(waiting) == len(self._order):
                yield from self._answers([waiting[place] for place in self._order])
                waiting = []
        yield from self._answers(waiting)

    def _answers(self, images: list[BoxedImage]) -> Any:  # noqa: ANN401
        for image in images:
            if self._answered == self._stop_after:
                raise KeyboardInterrupt
            self._answered += 1
            self.seen.extend(each.number for each in image.objects)
            yield outcomes_of(image)

    def close(self) -> None:
        pass


def first_time(path: Path) -> bool:
    """Whether nobody has asked yet; the file says that somebody has."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
