"""Samples of more than 8 bits, and floats, to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["stretched"]

# Images are stretched in blocks of whole rows of about this many pixels: the intermediate 64-bit
# floats of one block stay in the processor's cache.
_BLOCK_PIXELS = 1 << 16
# A range of integers up to this long is stretched by a table.
_TABLE_LENGTH = 1 << 16


def stretched(
    rows: Callable[[int, int], NDArray[Any]], *, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Values of any range -> uint8 [H, W, 3], smallest 0, largest 255.

    One scale for all channels, so that colours keep their balance. NaN becomes 0, infinities the
    end of the range they point to, and a constant image the nearest of 0..255.

    Args:
        rows: gives the values [n, W] or [n, W, 3] of the rows from one number up to another.
        shape: height and width.
    """
    height, width = shape
    step = max(1, _BLOCK_PIXELS // width)
    blocks = [(top, min(top + step, height)) for top in range(0, height, step)]
    ranges = [found for top, bottom in blocks if (found := _finite_range(rows(top, bottom)))]
    low = min((found[0] for found in ranges), default=0.0)
    high = max((found[1] for found in ranges), default=0.0)
    table = None
    if isinstance(low, int) and isinstance(high, int) and high - low < _TABLE_LENGTH:
        table = _scaled(np.arange(low, high + 1), low=low, high=high)
    pixels = np.empty((height, width, 3), np.uint8)
    for top, bottom in blocks:
        values = rows(top, bottom)
        values = _scaled(values, low=low, high=high) if table is None else table[values - low]
        grey = values.ndim == 2
        pixels[top:bottom] = cv2.cvtColor(values, cv2.COLOR_GRAY2RGB) if grey else values
    return pixels


def _finite_range(values: NDArray[Any]) -> tuple[float, float] | None:
    """Smallest and largest of the finite values, int for integers; None where there are none."""
    low, high = values.min().item(), values.max().item()
    if np.isfinite(low) and np.isfinite(high):  # NaN would be both
        return low, high
    finite = values[np.isfinite(values)]
    return (finite.min().item(), finite.max().item()) if finite.size else None


def _scaled(values: NDArray[Any], *, low: float, high: float) -> NDArray[np.uint8]:
    """Maps low..high to 0..255; where both are equal, keeps what lies in that range."""
    scaled = values.astype(np.float64)  # the differences of 32-bit integers need it
    if high > low:
        scaled -= low
        scaled *= 255 / (high - low)
    np.clip(scaled, 0, 255, out=scaled)
    scaled[np.isnan(scaled)] = 0
    return np.rint(scaled, out=scaled).astype(np.uint8)
