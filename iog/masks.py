"""Masks, and the forms that other programs read: polygons, run lengths, PNG. Nothing of networks.

Outlines run along pixel *edges*: the outline of the single pixel at column 3, row 4 is the square
from (3, 4) to (4, 5). CVAT draws in this frame, and in no other does the area of an outline equal
the number of pixels inside.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from dataloaders.geometry import Region, Size
from iog.prompts import Prompt
from iog.run_lengths import unpacked

if TYPE_CHECKING:
    import supervision  # type: ignore[import-not-found,unused-ignore]

__all__ = ["POLYGON_TOLERANCE_PX", "CocoRle", "Mask", "Polygon", "union"]

# How far a simplified polygon may lie from the exact outline, in image pixels, in answers that do
# not say.
POLYGON_TOLERANCE_PX = 1.0
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


class Polygon(TypedDict):
    """One connected component: its outer ring and the rings of its holes, each [[x, y], ...]."""

    exterior: Ring
    holes: list[Ring]


class CocoRle(TypedDict):
    """COCO's compressed run lengths: column-major over the whole image, size is [H, W]."""

    size: list[int]
    counts: str


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """The pixels of one object in an image.

    It holds the pixels of its own region, so that many masks of a large image take little memory.
    """

    pixels: NDArray[np.uint8]
    """[h, w], 0 or 1, C-contiguous: the smallest region that holds the object, not to be changed.
    [0, 0] where there is no object."""
    left: int
    """Column of the region's first pixel."""
    top: int
    """Row of the region's first pixel."""
    size: Size
    """Height and width of the image."""
    area: int
    """Pixels of the object."""
    score: float = 1.0
    """Mean probability over the object's pixels as the network found them, 0..1; 0 where there are
    none. Later changes (``cleaned``) leave it as it is."""
    prompt: Prompt | None = None
    """The box and the clicks that gave it, with the inside point that was used; ``None`` where it
    did not come from a ``Predictor``."""
    origin: Hashable = field(default=None)
    """Tells a predictor whether the mask is its own, of the image that it has."""

    @classmethod
    def from_array(cls, array: ArrayLike) -> Mask:
        """The mask of an array [H, W]; whatever is not 0 (or False) is object.

        Args:
            array: bool or integers; floats if all of them are 0 or 1. You may change it later.

        Raises:
            ValueError: the array has not two dimensions, or holds something else.
        """
        try:
            full = np.asarray(array)
        except ValueError:  # ragged
            full = np.asarray(None)
        if full.dtype.kind not in "biuf":
            kind = full.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(
                f"The mask is of type {kind}, not an array [H, W] of bool or integers."
            )
        if full.ndim != 2:
            raise ValueError(f"The mask has {full.ndim} dimensions, not [H, W].")
        if full.dtype.kind == "f" and not ((full == 0) | (full == 1)).all():
            raise ValueError(
                "The mask holds values other than 0 and 1: compare it with a threshold first."
            )
        pixels = full if full.dtype == np.uint8 else (full != 0).view(np.uint8)
        mask = cls.of_region(pixels, (0, 0), (full.shape[0], full.shape[1]))
        if np.may_share_memory(mask.pixels, full):
            return replace(mask, pixels=mask.pixels.copy())
        return mask

    @classmethod
    def from_rle(cls, rle: Mapping[str, Any]) -> Mask:
        """The mask of COCO's run lengths: ``{"size": [H, W], "counts": str, bytes or a list}``.

        Raises:
            ValueError: it is not that, or the runs do not add up to the size.
        """
        pixels = unpacked(rle)
        return cls.of_region(pixels, (0, 0), (pixels.shape[0], pixels.shape[1]))

    @classmethod
    def of_region(
        cls,
        pixels: NDArray[np.uint8],
        corner: tuple[int, int],
        size: Size,
        *,
        score: float = 1.0,
        area: int | None = None,
    ) -> Mask:
        """The mask whose pixels all lie in one region of the image.

        Args:
            pixels: uint8 [h, w], 0 or 1 (larger values count as 1).
            corner: column and row of its first pixel.
            size: height and width of the image.
            score: 0..1.
            area: pixels that are not 0, if you know.
        """
        left, top, width, height = cv2.boundingRect(pixels) if pixels.size else (0, 0, 0, 0)
        if not width:
            return cls(np.zeros((0, 0), np.uint8), 0, 0, size, 0, 0.0)
        inner = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        if area is None:
            area = cv2.countNonZero(inner)
            if cv2.minMaxLoc(inner)[1] > 1:
                inner = (inner != 0).view(np.uint8)
        return cls(inner, corner[0] + left, corner[1] + top, size, area, score)

    @property
    def region(self) -> Region:
        """x0, y0, x1, y1, right and bottom exclusive; four zeros where there is no object."""
        height, width = self.pixels.shape
        return self.left, self.top, self.left + width, self.top + height

    @property
    def box(self) -> Region | None:
        """The tight box x1, y1, x2, y2, image frame; ``None`` where there is no object."""
        return self.region if self.area else None

    @cached_property
    def array(self) -> NDArray[np.bool_]:
        """Bool [H, W], made when you first ask for it."""
        return self._full(1).view(np.bool_)

    def _full(self, value: int) -> NDArray[np.uint8]:
        """uint8 [H, W], C-contiguous: ``value`` where the object is, else 0."""
        full = np.zeros(self.size, np.uint8)
        x0, y0, x1, y1 = self.region
        np.multiply(self.pixels, np.uint8(value), out=full[y0:y1, x0:x1])
        return full

    def __repr__(self) -> str:
        """What there is to see, without the pixels."""
        return f"Mask(box={self.box}, area={self.area}, score={self.score:.4f}, size={self.size})"

    def cleaned(self, *, largest: int | None = None, fill_holes: float | None = None) -> Mask:
        """The mask without specks and holes.

        Args:
            largest: keep so many of the largest components. Pixels that touch at a corner belong
                together.
            fill_holes: then fill the holes of at most so many pixels.

        Raises:
            ValueError: ``largest`` is no whole number of 1 or more, or ``fill_holes`` below 0.
        """
        if largest is not None and (
            isinstance(largest, bool) or not isinstance(largest, int | np.integer) or largest < 1
        ):
            raise ValueError(f"largest is {largest}, not a whole number of 1 or more.")
        if fill_holes is not None and not fill_holes >= 0:
            raise ValueError(f"fill_holes is {fill_holes}, not 0 or more.")
        pixels = self.pixels
        if largest is not None and self.area:
            pixels = _largest(pixels, largest)
        if fill_holes and self.area:
            pixels = _filled(pixels, fill_holes)
        if pixels is self.pixels:
            return self
        changed = Mask.of_region(pixels, (self.left, self.top), self.size, score=self.score)
        return replace(changed, prompt=self.prompt, origin=self.origin)

    def polygon(self, tolerance: float = 0.0) -> list[Polygon]:
        """Outlines of all components (pixels that touch at a corner belong together).

        Vertices are pixel edges, so a fill that paints its outline too adds pixels at the right and
        at the bottom.

        Args:
            tolerance: greatest distance in pixels between an outline and its simplification. At 0
                the outlines are exact: their areas less those of the holes are the pixel count.

        Returns:
            Components by area, largest first; empty for an empty mask. Every ring has at least
            three vertices, is not closed (the last vertex differs from the first), and consecutive
            vertices differ.

        Raises:
            ValueError: the tolerance is not finite or below 0.
        """
        _check_tolerance(tolerance)
        components = sorted(self._exact_rings(), key=_pixel_count, reverse=True)
        simple = [[_simplified(ring, tolerance) for ring in rings] for rings in components]
        return [Polygon(exterior=exterior, holes=holes) for exterior, *holes in simple]

    def outline(self, tolerance: float = 0.0) -> Ring:
        """Outer ring of the largest component as [[x, y], ...]; empty for an empty mask.

        Args:
            tolerance: see ``polygon``.

        Raises:
            ValueError: the tolerance is not finite or below 0.
        """
        _check_tolerance(tolerance)
        components = self._exact_rings()
        return _simplified(max(components, key=_pixel_count)[0], tolerance) if components else []

    def _exact_rings(self) -> list[list[NDArray[np.int32]]]:
        """Per component its outer ring, then its holes; each int32 [V, 2] of pixel edges (x, y)."""
        if not self.area:
            return []
        contours, hierarchy = cv2.findContours(self.pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        parents = hierarchy.reshape(-1, 4)[:, 3].tolist()  # -1 or, of a hole, its outer ring
        components: dict[int, list[NDArray[np.int32]]] = {
            index: [] for index, parent in enumerate(parents) if parent < 0
        }
        found = [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours]
        rings = _on_pixel_edges(found, offset=(self.left, self.top))
        for index, (parent, ring) in enumerate(zip(parents, rings, strict=True)):
            if parent < 0:
                components[index].insert(0, ring)
            else:
                components[parent].append(ring)
        return list(components.values())

    def cvat_runs(self) -> list[int]:
        """CVAT's mask points: run lengths, then left, top, right, bottom (inclusive).

        Runs alternate background, object, ... row by row inside the tight box; the first is 0
        when the first pixel is object. Empty for an empty mask.
        """
        if not self.area:
            return []
        pixels = self.pixels.ravel()
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        runs = np.diff(np.concatenate(([0], changes, [pixels.size]))).tolist()
        if pixels[0]:
            runs.insert(0, 0)
        x0, y0, x1, y1 = self.region
        return [*runs, x0, y0, x1 - 1, y1 - 1]

    def rle(self) -> CocoRle:
        """COCO's compressed run lengths of the whole image, as `pycocotools` reads them."""
        height, width = self.size
        x0, y0, x1, y1 = self.region
        # Column by column, each between two zeros, so that every run begins and ends in its column.
        columns = np.zeros((x1 - x0, y1 - y0 + 2), np.uint8)
        columns[:, 1:-1] = self.pixels.T
        column, row = np.divmod(
            np.flatnonzero(columns[:, 1:] != columns[:, :-1]), columns.shape[1] - 1
        )
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

    def png(self) -> bytes:
        """The mask of the whole image as an 8-bit greyscale PNG of 0 and 255."""
        # Masks are so regular that filters, and more than run lengths, cost time and save nothing.
        options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
        strategy = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
        level = (cv2.IMWRITE_PNG_COMPRESSION, 1)
        _, written = cv2.imencode(".png", self._full(255), [*level, *options, *strategy])
        return written.tobytes()

    def to_detections(self) -> supervision.Detections:
        """The mask as ``supervision.Detections`` of one object, or of none if it is empty.

        Raises:
            ImportError: supervision is not installed.
        """
        import supervision

        if not self.area:
            return supervision.Detections.empty()
        return supervision.Detections(
            xyxy=np.array([self.region], np.float32),
            mask=self.array[None],
            confidence=np.array([self.score], np.float32),
        )


def union(masks: Sequence[Mask]) -> Mask:
    """One mask of all pixels of at least one mask of the same image.

    Its score is the mean of theirs by area.
    """
    if len(masks) == 1:
        return masks[0]
    size = masks[0].size
    drawn = [mask for mask in masks if mask.area]
    if not drawn:
        return masks[0]
    lefts, tops, rights, bottoms = zip(*(mask.region for mask in drawn), strict=True)
    left, top = min(lefts), min(tops)
    pixels = np.zeros((max(bottoms) - top, max(rights) - left), np.uint8)
    for mask in drawn:
        x0, y0, x1, y1 = mask.region
        pixels[y0 - top : y1 - top, x0 - left : x1 - left] |= mask.pixels
    score = sum(mask.score * mask.area for mask in drawn) / sum(mask.area for mask in drawn)
    return Mask(pixels, left, top, size, cv2.countNonZero(pixels), score)


def _largest(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Only the ``count`` largest components, of equal ones the first in row order."""
    labels, numbers, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    if labels - 1 <= count:
        return pixels
    keep = np.zeros(labels, np.uint8)
    keep[1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:count]] = 1
    return cast("NDArray[np.uint8]", keep[numbers])


def _filled(pixels: NDArray[np.uint8], largest_hole: float) -> NDArray[np.uint8]:
    """With every hole filled that has at most ``largest_hole`` pixels."""
    around = np.pad(1 - pixels, 1, constant_values=1)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(around, connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= largest_hole
    fill[0] = False  # the object
    fill[numbers[0, 0]] = False  # what is around it
    if not fill.any():
        return pixels
    filled: NDArray[np.uint8] = fill[numbers[1:-1, 1:-1]].view(np.uint8)
    return pixels | filled


def _pixel_count(rings: list[NDArray[np.int32]]) -> float:
    """Pixels of a component: holes run the other way round, so their areas count negative."""
    return abs(sum(_signed_area(ring) for ring in rings))


def _check_tolerance(tolerance: float) -> None:
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance}, not a finite number of 0 or more.")


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
