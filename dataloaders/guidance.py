"""Guidance maps: prompts drawn as peaks that the network reads beside the colours."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

PixelXY = tuple[int, int]

# Of the greatest depth: so deep in a mask, another inside point does no better. docs/evaluation.md
# has the figures.
_DEEP_FRACTION = 0.25


def heat_map(points: Iterable[PixelXY], *, input_size: int, fwhm: float) -> NDArray[np.float32]:
    """The highest of one Gaussian peak per point (IOG, section 3.2).

    Args:
        points: (column, row) in network pixels; they may lie one past the frame.
        input_size: width and height of the map.
        fwhm: width of a peak at half its height, in pixels.

    Returns:
        float32 [S, S] in 0..1; zeros when there is no point.
    """
    out = np.zeros((input_size, input_size), np.float64)
    grid = np.arange(input_size, dtype=np.float64)
    for x, y in points:
        row = np.exp(-4.0 * math.log(2.0) * (grid - x) ** 2 / fwhm**2)
        column = np.exp(-4.0 * math.log(2.0) * (grid - y) ** 2 / fwhm**2)
        np.maximum(out, np.outer(column, row), out=out)
    return out.astype(np.float32)


def guidance_maps(
    inside: Iterable[PixelXY], outside: Iterable[PixelXY], *, input_size: int, fwhm: float
) -> NDArray[np.float32]:
    """Inside and outside maps as the networks take them: float32 [2, S, S] in 0..255."""
    maps = [heat_map(points, input_size=input_size, fwhm=fwhm) for points in (inside, outside)]
    return np.stack(maps) * np.float32(255.0)


def add_clicks(
    maps: NDArray[np.float32],
    inside: Iterable[PixelXY],
    outside: Iterable[PixelXY],
    *,
    fwhm: float,
) -> NDArray[np.float32]:
    """Add corrective clicks to first guidance maps, for the click branch.

    Both maps are rounded down to whole grey levels once a click was added, as the published
    refinement weights were trained; without a click the maps come back as they are.

    Args:
        maps: float32 [2, S, S] in 0..255, from ``guidance_maps``.
        inside: further positive clicks, (column, row) in network pixels.
        outside: negative clicks.
        fwhm: width of a peak at half its height, in pixels.
    """
    clicks = (list(inside), list(outside))
    if not any(clicks):
        return maps
    added = guidance_maps(*clicks, input_size=maps.shape[-1], fwhm=fwhm)
    return np.floor(np.maximum(maps, added))


def most_interior_point(
    mask: NDArray[np.bool_], *, unless: PixelXY | None = None
) -> PixelXY | None:
    """The pixel (column, row) farthest from the outside; the map's edge counts as outside.

    Among equals the first in row order, as in the official code. ``None`` for an empty mask.

    Args:
        mask: bool [S, S].
        unless: this pixel instead, where it is at least a quarter as far from the outside.
    """
    if not mask.any():
        return None
    padded = np.pad(mask, 1).view(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # Squares of distances between pixels are whole numbers: rounded, equal depths are equal again.
    depth = np.rint(np.square(depth, dtype=np.float64))
    row, column = np.unravel_index(int(np.argmax(depth)), mask.shape)
    if unless is not None and depth[unless[1], unless[0]] >= _DEEP_FRACTION**2 * depth[row, column]:
        return unless
    return int(column), int(row)
