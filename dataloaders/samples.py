"""One annotated object: what every reader yields and every score and training step starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box


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
