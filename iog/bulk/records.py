"""What passes between a source, a mapper, the journal and a sink. All of it can be pickled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from dataloaders.geometry import Box, Region, Size
from iog.masks import Mask

__all__ = [
    "DEADLY",
    "NO_OBJECT",
    "BoxedImage",
    "BoxedObject",
    "Click",
    "Failure",
    "ImageFile",
    "ImageOutcome",
    "Mapper",
    "MaskRow",
    "Outcome",
    "Outcomes",
    "Sink",
    "Source",
]

ImageFile = str | bytes | Callable[[], bytes]
"""A path, a file's bytes, or what gets them: a worker calls it, so it must be possible to pickle.
It may raise ``OSError``, with a sentence."""

Click = tuple[float, float, int]
"""x, y in the image frame, and 1 for the object or 0 for the background."""


@dataclass(frozen=True)
class BoxedObject:
    """A box that wants a mask."""

    number: int
    """Tells the objects of the data set apart, in the source's order: 0 or more, the same each time
    that the source is read."""
    box: Box
    """Image frame, as it was found: neither clamped nor ordered."""
    name: str
    """For messages, such as ``annotation 17``."""
    label: str = ""
    points: tuple[Click, ...] = ()
    problem: str = ""
    """A sentence that says why there can be no mask, if the source knows that already."""


@dataclass(frozen=True)
class BoxedImage:
    """An image and those of its boxes that want a mask."""

    number: int
    """Tells the images of the data set apart, in the source's order."""
    name: str
    """For messages and pages: the path in the data set."""
    image: ImageFile
    objects: tuple[BoxedObject, ...]
    size: Size | None = None
    """Height and width that the boxes are meant for, where the source says so. A file of another
    size fails, because its boxes would mean other places."""


@dataclass(frozen=True)
class MaskRow:
    """A finished object."""

    size: Size
    counts: str
    """COCO's compressed run lengths of the whole image."""
    box: Region
    """The tight box."""
    area: int
    """Pixels."""
    score: float

    @classmethod
    def of(cls, mask: Mask) -> MaskRow:
        """The row of a mask that is not empty."""
        rle = mask.rle()
        return cls(mask.size, rle["counts"], mask.region, mask.area, mask.score)

    def mask(self) -> Mask:
        """The mask, without the prompt that gave it."""
        found = Mask.from_rle({"size": list(self.size), "counts": self.counts})
        return replace(found, score=self.score)


@dataclass(frozen=True)
class Failure:
    """An object that has got no mask."""

    reason: str
    """A sentence."""


NO_OBJECT = "The model found no object in the box."
DEADLY = "The worker died twice of this image; it may need more memory than there is."
"""The reason of a failure."""

Outcome = MaskRow | Failure


@dataclass(frozen=True)
class ImageOutcome:
    """What became of an image: object numbers with their outcomes."""

    image: BoxedImage
    outcomes: tuple[tuple[int, Outcome], ...]

    @classmethod
    def failed(cls, image: BoxedImage, reason: str) -> ImageOutcome:
        """The same failure for all objects of an image."""
        failure = Failure(reason)
        return cls(image, tuple((each.number, failure) for each in image.objects))


class Source(Protocol):
    """Where boxes come from."""

    def describe(self) -> dict[str, str]:
        """What the masks depend on: names and values, such as the digest of a file.

        A journal goes on only with a source that says the same.
        """

    def count(self) -> int:
        """Objects that want a mask."""

    def images(self) -> Iterator[BoxedImage]:
        """The images with objects that want a mask, always in the same order.

        Memory must not grow with the data set. It may be called more than once.
        """


class Outcomes(Protocol):
    """What is finished, for a sink; the journal is one."""

    def get(self, number: int) -> Outcome | None:
        """The outcome of an object; ``None`` if it wanted no mask."""

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        """All object numbers with their outcomes, by number."""


class Sink(Protocol):
    """Where masks go."""

    def write(self, outcomes: Outcomes) -> str | None:
        """Write the whole output in the order of the input, or none of it.

        It depends on the outcomes alone, so that a run that was broken off gives the same bytes.

        Returns:
            A sentence that says what of the input the output lacks, if it lacks something.
        """


class Mapper(Protocol):
    """Makes masks: worker processes here, actors of a cluster, or a function at an address."""

    def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
        """The outcome of each image, in any order.

        Images are taken as they are needed, so that memory does not grow with their number. An
        image that fails is an outcome; what no image can help, such as missing weights, raises.
        """

    def close(self) -> None:
        """End whatever works here; once more does nothing."""
