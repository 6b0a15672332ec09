"""Outlines of masks along the edges of their pixels, exact or simplified.

The outline of the single pixel at column 3, row 4 is the square from (3, 4) to (4, 5).
"""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelRing", "Ring", "check_tolerance", "exact_rings", "pixel_count", "simplified"]

# A polygon that small a tolerance still distorts by more than this part of its area (thin or tiny
# objects) is simplified less.
_MAX_AREA_CHANGE = 0.1

# The sides of a pixel in the order in which a contour passes them, with the background on its
# right: 0 left, downwards; 1 lower, to the right; 2 right, upwards; 3 upper, to the left.
# Corner number i is where side i begins; (x, y) from the pixel's upper left corner.
_CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.int32)
# By dx + 1, dy + 1 of a step from one pixel of a contour to the next: the corner of the next
# pixel that the ring passes on the way ...
_ENTERED = np.array([(2, 3, 3), (2, 0, 0), (1, 1, 0)], np.int8)
# ... which is this corner of the pixel before.
_LEFT = np.array([(0, 0, 1), (3, 0, 1), (3, 2, 2)], np.int8)

Ring = list[list[int]]
"""[[x, y], ...], not closed."""
PixelRing = NDArray[np.int32]
"""A ring as an array [V, 2] of pixel edges (x, y)."""


def exact_rings(pixels: NDArray[np.uint8], *, offset: tuple[int, int]) -> list[list[PixelRing]]:
    """Per component its outer ring, then its holes. Pixels that touch at a corner are one.

    Args:
        pixels: uint8 [h, w], not 0 on the object, which has at least one pixel.
        offset: column and row of the first pixel in the image.
    """
    contours, hierarchy = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = hierarchy.reshape(-1, 4)[:, 3].tolist()  # -1 or, of a hole, its outer ring
    components: dict[int, list[PixelRing]] = {
        index: [] for index, parent in enumerate(parents) if parent < 0
    }
    found = [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours]
    rings = _on_pixel_edges(found, offset=offset)
    for index, (parent, ring) in enumerate(zip(parents, rings, strict=True)):
        if parent < 0:
            components[index].insert(0, ring)
        else:
            components[parent].append(ring)
    return list(components.values())


def pixel_count(rings: list[PixelRing]) -> float:
    """Pixels of a component: holes run the other way round, so their areas count negative."""
    return abs(sum(_signed_area(ring) for ring in rings))


def check_tolerance(tolerance: float) -> None:
    """Refuse what is no distance.

    Raises:
        ValueError: the tolerance is not finite or below 0.
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance}, not a finite number of 0 or more.")


def simplified(ring: PixelRing, tolerance: float) -> Ring:
    """A ring with fewer vertices, none farther from it than ``tolerance`` pixels."""
    area = _signed_area(ring)
    # A ring no wider than the tolerance collapses to a line; a tighter tolerance keeps it open.
    for tighter in (tolerance, tolerance / 2, tolerance / 4):
        if tighter <= 0:
            break
        candidate = cast(
            "NDArray[np.int32]", cv2.approxPolyDP(ring, tighter, closed=True).reshape(-1, 2)
        )
        change = abs(_signed_area(candidate) - area)
        if len(candidate) >= 3 and change <= _MAX_AREA_CHANGE * abs(area):
            return _as_lists(candidate)
    return _as_lists(ring)


def _as_lists(ring: NDArray[np.int32]) -> Ring:
    return cast("Ring", ring.tolist())


def _signed_area(ring: NDArray[np.int32]) -> float:
    """Area inside the ring; outer rings and holes, which run in opposite senses, differ in sign."""
    return cv2.contourArea(ring, oriented=True)


def _on_pixel_edges(
    contours: list[NDArray[np.int32]], *, offset: tuple[int, int]
) -> list[NDArray[np.int32]]:
    """Rings along the outer edges of the contours' pixels, without vertices on a straight line.

    At each pixel a ring runs from the corner it came by to the corner it leaves by, along one to
    four sides. All contours at once: a ragged mask has tens of thousands of them.

    Args:
        contours: int32 [N, 2], x and y of all pixels of a contour (``CHAIN_APPROX_NONE``), at
            least one.
        offset: x and y of the first pixel of the mask they were found in.

    Returns:
        int32 [V, 2] for each contour: x and y of pixel edges.
    """
    pixels = np.concatenate(contours)
    ends = np.cumsum([len(contour) for contour in contours])
    starts = np.concatenate(([0], ends[:-1]))
    following = np.arange(1, len(pixels) + 1)
    following[ends - 1] = starts
    step = pixels[following] - pixels + 1
    leaving = _LEFT[step[:, 0], step[:, 1]]
    entering = np.empty_like(leaving)
    entering[following] = _ENTERED[step[:, 0], step[:, 1]]
    # Where both are one corner the ring goes round the whole pixel: a tip, or a pixel alone.
    sides = (leaving - entering - 1) % 4 + 1

    # One entry for each side that a ring runs along.
    pixel = np.repeat(np.arange(len(pixels)), sides)
    last = np.cumsum(sides)
    nth = np.arange(len(pixel)) - np.repeat(last - sides, sides)
    side = (entering[pixel] + nth) % 4
    bounds = last[ends - 1]  # where each ring's sides end
    begins = np.concatenate(([0], bounds[:-1]))
    before = np.arange(len(pixel)) - 1
    before[begins] = bounds - 1
    corner = side != side[before]
    vertices = pixels[pixel[corner]] + _CORNERS[side[corner]] + np.array(offset, np.int32)
    return np.split(vertices, np.cumsum(corner)[bounds[:-1] - 1])
