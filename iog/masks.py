"""Masks in the forms other programs read: polygons, run lengths, PNG. And nothing of networks.

All functions take a mask as uint8 [H, W] (0 background, anything else object) in the image frame.
Outlines run along pixel *edges*: the outline of the single pixel at column 3, row 4 is the square
from (3, 4) to (4, 5). That is the frame in which CVAT draws, and the only one in which the area
of an outline equals the number of pixels inside.

`bounds` = (x0, y0, x1, y1), right and bottom exclusive, is a region outside of which the mask is
known to be 0. It spares a scan of the whole image; without it the functions look themselves.
"""

from __future__ import annotations

from typing import TypedDict, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from iog.outlines import on_pixel_edges

__all__ = [
    "POLYGON_TOLERANCE_PX",
    "Bounds",
    "CocoRle",
    "Polygon",
    "coco_rle",
    "cvat_rle",
    "outline",
    "png",
    "polygons",
    "tight_bounds",
]

# How far a simplified polygon may lie from the exact outline, in image pixels.
POLYGON_TOLERANCE_PX = 1.0
# A polygon that small a tolerance still distorts by more than this part of its area (thin or tiny
# objects) is simplified less.
_MAX_AREA_CHANGE = 0.1

Bounds = tuple[int, int, int, int]
Ring = list[list[int]]


class Polygon(TypedDict):
    """One connected component: its outer ring and the rings of its holes, each [[x, y], ...]."""

    exterior: Ring
    holes: list[Ring]


class CocoRle(TypedDict):
    """COCO's compressed run lengths: column-major over the whole image, size is [H, W]."""

    size: list[int]
    counts: str


def tight_bounds(mask: NDArray[np.uint8], *, bounds: Bounds | None = None) -> Bounds | None:
    """Smallest (x0, y0, x1, y1), right and bottom exclusive, with all object pixels inside.

    None when the mask is empty.
    """
    x0, y0, x1, y1 = bounds or (0, 0, mask.shape[1], mask.shape[0])
    left, top, width, height = cv2.boundingRect(mask[y0:y1, x0:x1])
    if not width:
        return None
    return x0 + left, y0 + top, x0 + left + width, y0 + top + height


def polygons(
    mask: NDArray[np.uint8],
    tolerance: float = POLYGON_TOLERANCE_PX,
    *,
    bounds: Bounds | None = None,
) -> list[Polygon]:
    """Outlines of all components (pixels that touch at a corner belong together).

    Args:
        mask: uint8 [H, W].
        tolerance: greatest distance in pixels between an outline and its simplification; at 0 the
            outlines are exact, so their areas minus those of the holes are the pixel count.
        bounds: region outside of which the mask is 0.

    Returns:
        Components by area, largest first; empty for an empty mask. Every ring has at least three
        vertices, is not closed (the last vertex differs from the first), and consecutive
        vertices differ.
    """
    components = sorted(_exact_rings(mask, bounds), key=_pixel_count, reverse=True)
    simple = [[_simplified(ring, tolerance) for ring in rings] for rings in components]
    return [Polygon(exterior=exterior, holes=holes) for exterior, *holes in simple]


def outline(
    mask: NDArray[np.uint8],
    tolerance: float = POLYGON_TOLERANCE_PX,
    *,
    bounds: Bounds | None = None,
) -> Ring:
    """Outer ring of the largest component as [[x, y], ...]; empty for an empty mask.

    Arguments as of `polygons`.
    """
    components = _exact_rings(mask, bounds)
    return _simplified(max(components, key=_pixel_count)[0], tolerance) if components else []


def _exact_rings(mask: NDArray[np.uint8], bounds: Bounds | None) -> list[list[NDArray[np.int32]]]:
    """Per component its outer ring, then its holes; each int32 [V, 2] of pixel edges (x, y)."""
    tight = tight_bounds(mask, bounds=bounds)
    if tight is None:
        return []
    x0, y0, x1, y1 = tight
    contours, hierarchy = cv2.findContours(
        mask[y0:y1, x0:x1], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    parents = hierarchy.reshape(-1, 4)[:, 3].tolist()  # -1 or, of a hole, its outer ring
    components: dict[int, list[NDArray[np.int32]]] = {
        index: [] for index, parent in enumerate(parents) if parent < 0
    }
    found = [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours]
    rings = on_pixel_edges(found, offset=(x0, y0))
    for index, (parent, ring) in enumerate(zip(parents, rings, strict=True)):
        if parent < 0:
            components[index].insert(0, ring)
        else:
            components[parent].append(ring)
    return list(components.values())


def _pixel_count(rings: list[NDArray[np.int32]]) -> float:
    """Pixels of a component: holes run the other way round, so their areas count negative."""
    return abs(sum(_signed_area(ring) for ring in rings))


def _simplified(ring: NDArray[np.int32], tolerance: float) -> Ring:
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


def cvat_rle(mask: NDArray[np.uint8], *, bounds: Bounds | None = None) -> list[int]:
    """CVAT's mask points: run lengths, then left, top, right, bottom (inclusive).

    Runs alternate background, object, ... row by row inside the tight bounding box; the first is
    0 when the first pixel is object.

    Args:
        mask: uint8 [H, W].
        bounds: region outside of which the mask is 0.

    Returns:
        The numbers; empty for an empty mask.
    """
    tight = tight_bounds(mask, bounds=bounds)
    if tight is None:
        return []
    x0, y0, x1, y1 = tight
    pixels = (mask[y0:y1, x0:x1] != 0).ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [pixels.size]))).tolist()
    if pixels[0]:
        runs.insert(0, 0)
    return [*runs, x0, y0, x1 - 1, y1 - 1]


def coco_rle(mask: NDArray[np.uint8], *, bounds: Bounds | None = None) -> CocoRle:
    """COCO's compressed run lengths of the whole mask, as `pycocotools` reads them.

    Args:
        mask: uint8 [H, W].
        bounds: region outside of which the mask is 0.

    Returns:
        `{"size": [H, W], "counts": str}`, also for an empty mask.
    """
    height, width = mask.shape
    x0, y0, x1, y1 = tight_bounds(mask, bounds=bounds) or (0, 0, 0, 0)
    # Column by column, each between two zeros, so that every run begins and ends in its column.
    columns = np.zeros((x1 - x0, y1 - y0 + 2), np.uint8)
    columns[:, 1:-1] = mask[y0:y1, x0:x1].T != 0
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), columns.shape[1] - 1)
    ends = (x0 + column) * height + y0 + row  # of runs, alternately background's and object's
    # A run to the foot of one column goes on at the head of the next.
    joined = np.flatnonzero(ends[1:-1:2] == ends[2::2]) * 2 + 1
    ends = np.delete(ends, np.concatenate((joined, joined + 1)))
    runs = np.diff(ends, prepend=0, append=height * width)
    if ends.size and ends[-1] == height * width:
        runs = runs[:-1]
    packed = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    counts: bytes = packed["counts"]
    return CocoRle(size=[height, width], counts=counts.decode("ascii"))


def png(mask: NDArray[np.uint8]) -> bytes:
    """The mask as an 8-bit greyscale PNG of 0 and 255, the values an image viewer shows."""
    _, pixels = cv2.threshold(mask, 0, 255, cv2.THRESH_BINARY)
    # Masks are so regular that filters, and more than run lengths, cost time and save nothing.
    options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
    strategy = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    level = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    _, encoded = cv2.imencode(".png", pixels, [*level, *options, *strategy])
    return encoded.tobytes()
