"""Annotated objects, the files they are read from, and parts of data sets.

A missing or broken file is reported in one sentence.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dataloaders import DatasetError
from dataloaders.geometry import Box

_GONE = "it was there when the data set was opened"


def require(path: Path, *, advice: str) -> Path:
    """The path of an existing file.

    Raises:
        DatasetError: there is none; the sentence ends in ``advice``.
    """
    if path.is_file():
        return path
    raise DatasetError(f"{path} is missing; {advice}")


def read_names(path: Path, *, advice: str) -> list[str]:
    """The lines of a list of photographs, without empty ones."""
    text = require(path, advice=advice).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def decode_image(data: bytes, flags: int, name: str) -> NDArray[np.uint8]:
    """An encoded image as OpenCV reads it with ``flags``; ``name`` is for the error's sentence."""
    # OpenCV raises an error of its own for an empty buffer.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DatasetError(f"{name} is not a readable image; restore it from the data set")
    return image.astype(np.uint8, copy=False)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """A photograph, upright: uint8 [H, W, 3], RGB."""
    data = require(path, advice=_GONE).read_bytes()
    return decode_image(data, cv2.IMREAD_COLOR_RGB, str(path))


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The values of a greyscale or palette PNG as stored: uint8 [H, W].

    OpenCV would turn a palette into colours, and colours into grey.
    """
    image = _open(path)
    if image.mode not in ("P", "L"):
        raise DatasetError(f"{path} holds colours instead of numbers (mode {image.mode})")
    return np.array(image, np.uint8)


def read_labels(path: Path) -> NDArray[np.int32]:
    """A label PNG as int32 [H, W]: colours as 0xRRGGBB, the values of a greyscale file as stored.

    Greyscale values are told from colours by being negative: value v is ``-1 - v``.
    """
    image = _open(path)
    if image.mode == "L":
        return -1 - np.array(image, np.int32)
    rgb = np.array(image.convert("RGB"), np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def check_size(name: str | Path, image: NDArray[np.uint8], size: tuple[int, ...]) -> None:
    """Raise DatasetError when a photograph and its mask, of size [H, W], do not fit."""
    if image.shape[:2] != size:
        (height, width), (rows, columns) = image.shape[:2], size
        raise DatasetError(
            f"{name} has {width} x {height} pixels, but its mask {columns} x {rows}; "
            "they belong to different versions of the data set"
        )


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(require(path, advice=_GONE)) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(
            f"{path} is not a readable image; restore it from the data set"
        ) from error


@dataclass(frozen=True)
class Sample:
    """One object of one photograph, in the image frame.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        mask: bool [H, W], the object.
        void: bool [H, W], pixels that count neither way.
        image_id: the photograph's name within its data set.
        object_index: the object's position among those of its photograph, from 0.
        category: the object's class name, empty when the data set has none.
        subset: the part of the data set the photograph comes from, empty when there is one only.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    void: NDArray[np.bool_]
    image_id: str
    object_index: int
    category: str
    subset: str

    def tight_box(self) -> Box:
        """The smallest box that covers the mask: x1, y1, x2, y2 at pixel edges."""
        columns, rows = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


class Dataset(Protocol):
    """Annotated objects by number, from 0: what every reader is."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read object ``index``; its mask has at least one pixel."""

    def subset(self, index: int) -> str:
        """The part of the data set that object ``index`` comes from, without decoding it."""

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""


@dataclass(frozen=True)
class Entry:
    """What a reader knows of an object before it opens a file, in the words of ``Sample``."""

    image_id: str
    object_index: int
    category: str
    subset: str

    def sample(
        self,
        name: str | Path,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        void: NDArray[np.bool_],
    ) -> Sample:
        """The object with its pixels; ``name`` is the photograph's, for the error's sentence.

        Raises:
            DatasetError: photograph and mask differ in size.
        """
        check_size(name, image, mask.shape)
        known = (self.image_id, self.object_index, self.category, self.subset)
        return Sample(image, mask, void, *known)


class Listed:
    """Objects that are listed when a data set is opened, and read when they are asked for."""

    _entries: Sequence[Entry]

    def __len__(self) -> int:
        return len(self._entries)

    def subset(self, index: int) -> str:
        """The part of the data set that object ``index`` comes from, without decoding it."""
        return self._entries[index].subset

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""
        return self._entries[index].image_id


class Selection(ABC):
    """Objects of other data sets."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _find(self, index: int) -> tuple[Dataset, int]:
        """The data set that holds object ``index``, and the object's number there."""

    def __getitem__(self, index: int) -> Sample:
        whole, place = self._find(index)
        return whole[place]

    def subset(self, index: int) -> str:
        """The part of the data set that object ``index`` comes from, without decoding it."""
        whole, place = self._find(index)
        return whole.subset(place)

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""
        whole, place = self._find(index)
        return whole.image_id(place)


class Part(Selection):
    """Some objects of a data set.

    Args:
        whole: the data set.
        indices: the objects' numbers in it, in the order wanted.
    """

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self._whole = whole
        self._indices = list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def _find(self, index: int) -> tuple[Dataset, int]:
        return self._whole, self._indices[index]


def hold_out(objects: Dataset, share: float) -> tuple[Part, Part]:
    """Divide a data set by photographs, into those to learn from and those to be judged by.

    A photograph's place follows from its name alone, as far as the share allows: training and
    evaluation find the same division without a file, and a larger export of the same task moves
    few photographs across.

    Args:
        objects: with photographs under at least two names.
        share: of the photographs to hold out, above 0 and below 1; at least one is held out and
            one kept.

    Returns:
        The objects kept and the objects held out.

    Raises:
        DatasetError: all objects are on one photograph.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} holds out nothing or everything")
    names = [objects.image_id(i) for i in range(len(objects))]
    ranked = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(ranked) < 2:
        raise DatasetError(
            "All objects are on one photograph, so none can be held out for scoring: annotate "
            "more photographs, or give validation data of its own"
        )
    count = min(max(round(share * len(ranked)), 1), len(ranked) - 1)
    apart = set(ranked[:count])
    return (
        Part(objects, [i for i, name in enumerate(names) if name not in apart]),
        Part(objects, [i for i, name in enumerate(names) if name in apart]),
    )
