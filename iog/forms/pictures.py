"""What every form can say of an image: its objects with labels and masks. Conversions go by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import PIL.Image
from pycocotools import mask as coco

from dataloaders.geometry import Box, Size
from iog.bulk.records import ImageFile, MaskRow, Outcome, Outcomes
from iog.image import Image
from iog.masks import Mask

__all__ = [
    "Drawn",
    "Form",
    "Picture",
    "bounds",
    "drawn",
    "from_cvat_runs",
    "from_polygons",
    "size_of",
]

_ORIENTATION: Final = 0x0112
_FIRST_ON_SIDE: Final = 5


@dataclass(frozen=True)
class Drawn:
    """An object of an image."""

    label: str
    box: Box
    mask: Mask | None
    """``None`` for a box that has got none."""
    score: float | None = None
    """Of a mask that is new."""


@dataclass(frozen=True)
class Picture:
    """An image and all its objects."""

    name: str
    """Path in the data set."""
    image: ImageFile
    objects: tuple[Drawn, ...]
    size: Size | None = None
    """Height and width, where the form says so."""


class Form(Protocol):
    """A source that a conversion can read."""

    def labels(self) -> list[str]:
        """All labels, in the form's order."""

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """The images with what they had and what is new."""


def drawn(label: str, box: Box, outcome: Outcome | None, mask: Mask | None = None) -> Drawn:
    """An object with its new mask, or with the one that it had."""
    if isinstance(outcome, MaskRow):
        new = outcome.mask()
        return Drawn(label, tuple(map(float, new.region)), new, outcome.score)  # type: ignore[arg-type]
    return Drawn(label, box, mask)


def size_of(picture: Picture) -> Size:
    """Height and width of an image, from the form, a mask, or the file.

    Raises:
        OSError, RequestError: the file cannot be read.
    """
    if picture.size is not None:
        return picture.size
    for each in picture.objects:
        if each.mask is not None:
            return each.mask.size
    return size_of_file(picture.image)


def size_of_file(file: ImageFile) -> Size:
    """Height and width of an image as it is shown; of a path, no more than its head is read.

    Raises:
        OSError, RequestError: the file cannot be read.
    """
    if not isinstance(file, str):
        return Image(file() if callable(file) else file).size
    try:
        with PIL.Image.open(file) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_SIDE
            return (picture.width, picture.height) if turned else (picture.height, picture.width)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return Image(file).size


def from_polygons(polygons: Sequence[Sequence[float]], size: Size) -> Mask:
    """The mask of outlines, each x, y, x, y, ... in the image frame; together they are one object.

    Raises:
        ValueError: none has three corners.
    """
    outlines = [list(map(float, each)) for each in polygons if len(each) >= 6]
    if not outlines:
        raise ValueError("An outline needs three corners.")
    runs = coco.merge(coco.frPyObjects(outlines, *size))
    return Mask.from_array(np.asarray(coco.decode(runs)))


def from_cvat_runs(points: Sequence[float], size: Size) -> Mask:
    """The mask of CVAT's run lengths: runs row by row, then left, top, right, bottom (inclusive).

    Raises:
        ValueError: the runs do not fill the rectangle, or it leaves the image.
    """
    *runs, left, top, right, bottom = (int(point) for point in points)
    width, height = right - left + 1, bottom - top + 1
    fits = 0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]
    if not fits or min(runs, default=0) < 0 or sum(runs) != width * height:
        raise ValueError("The runs of a mask do not fit its rectangle, or that does not the image.")
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(height, width)
    return Mask.of_region(pixels, (left, top), size)


def bounds(points: Sequence[float]) -> Box:
    """The box around x, y, x, y, ..."""
    return (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
