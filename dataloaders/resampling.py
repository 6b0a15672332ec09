"""Values between pixels, along one axis: bilinear, bicubic and of running sums."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Taps", "between", "cubic_rows"]


class Taps(NamedTuple):
    """One of the two pixels that a bilinear sample lies between, for every network pixel."""

    place: NDArray[np.intp]  # in the image, clamped to it
    weight: NDArray[np.float32]  # 0 outside the image

    @classmethod
    def along(cls, length: int, frame: int, *, origin: int, limit: int) -> tuple[Taps, Taps]:
        """Both pixels along one axis.

        Args:
            length: the window's size; its own edge pixels are repeated beyond its edge.
            frame: the network frame's size.
            origin: the window's first pixel in the image.
            limit: the image's size.
        """
        position = ((np.arange(frame) + 0.5) * (length / frame) - 0.5).astype(np.float32)
        low = np.floor(position)
        share = position - low
        taps = []
        for index, weight in ((low, 1 - share), (low + 1, share)):
            place = np.clip(index.astype(np.intp), 0, length - 1) + origin
            inside = (place >= 0) & (place < limit)
            taps.append(cls(np.clip(place, 0, limit - 1), weight * inside))
        return taps[0], taps[1]


def between(sums: NDArray[Any], places: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    """Values at places between those of an array, by linear interpolation along one axis."""
    low = np.minimum(places.astype(np.intp), sums.shape[axis] - 2)
    share = (places - low).reshape([-1 if n == axis else 1 for n in range(sums.ndim)])
    first: NDArray[np.float64] = sums.take(low, axis=axis).astype(np.float64)
    first += share * (sums.take(low + 1, axis=axis) - first)
    return first


def cubic_rows(
    source: NDArray[np.float32], height: int, start: int, end: int
) -> NDArray[np.float32]:
    """Rows ``start`` to ``end`` of ``source`` resized to ``height`` rows by bicubic interpolation.

    The kernel is OpenCV's (a = -0.75), so that both directions of a resize are alike.
    """
    position = (np.arange(start, end) + 0.5) * (len(source) / height) - 0.5
    low = np.floor(position)
    out = np.zeros((end - start, source.shape[1]), np.float32)
    for tap in range(-1, 3):
        index = np.clip(low + tap, 0, len(source) - 1).astype(np.intp)
        weight = _cubic(np.abs(position - low - tap)).astype(np.float32)
        out += source[index] * weight[:, None]
    return out


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    a, d = -0.75, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
