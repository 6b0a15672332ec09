"""Masks, and the forms that other programs read: polygons, run lengths, PNG. Nothing of networks.

Outlines run along pixel *edges*: the outline of the single pixel at column 3, row 4 is the square
from (3, 4) to (4, 5). CVAT draws in this frame, and in no other does the area of an outline equal
the number of pixels inside.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dataloaders.geometry import Region, Size
from iog.outlines import PixelRing, Ring, check_tolerance, exact_rings, pixel_count, simplified
from iog.prompts import Prompt
from iog.run_lengths import CocoRle, packed, unpacked

if TYPE_CHECKING:
    import supervision

__all__ = ["POLYGON_TOLERANCE_PX", "CocoAnnotation", "CocoRle", "Mask", "Masks", "Polygon", "union"]

# How far a simplified polygon may lie from the exact outline, in image pixels, in answers that do
# not say.
POLYGON_TOLERANCE_PX = 1.0


class Polygon(TypedDict):
    """One connected component: its outer ring and the rings of its holes, each [[x, y], ...]."""

    exterior: Ring
    holes: list[Ring]


class CocoAnnotation(TypedDict):
    """One entry of a COCO file's ``annotations``, with a score as in COCO's results."""

    id: int
    image_id: int
    category_id: int
    bbox: list[int]
    """x, y, width, height: the tight box."""
    area: int
    """Pixels of the mask."""
    iscrowd: int
    segmentation: CocoRle | list[list[int]]
    """Run lengths, or for each component [x, y, x, y, ...]."""
    score: float


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
    """The box and the clicks that gave it, with the inside point that was used; ``None`` for a
    mask from elsewhere, also where ``predict`` gave it back as it is."""
    origin: Hashable = field(default=None)
    """Tells a predictor whether the mask is its own, of the image that it has."""
    start: Mask | None = None
    """The mask from elsewhere that it corrects, for networks that read one."""

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
        pixels, left, size = unpacked(rle)
        return cls.of_region(pixels, (left, 0), size)

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

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.generic]:
        """What ``numpy.asarray`` gives: ``array``, instead of an array that holds one object."""
        return np.array(self.array, dtype=dtype, copy=copy)

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
        return replace(changed, prompt=self.prompt, origin=self.origin, start=self.start)

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
        check_tolerance(tolerance)
        components = sorted(self._exact_rings(), key=pixel_count, reverse=True)
        simple = [[simplified(ring, tolerance) for ring in rings] for rings in components]
        return [Polygon(exterior=exterior, holes=holes) for exterior, *holes in simple]

    def outline(self, tolerance: float = 0.0) -> Ring:
        """Outer ring of the largest component as [[x, y], ...]; empty for an empty mask.

        Args:
            tolerance: see ``polygon``.

        Raises:
            ValueError: the tolerance is not finite or below 0.
        """
        check_tolerance(tolerance)
        components = self._exact_rings()
        return simplified(max(components, key=pixel_count)[0], tolerance) if components else []

    def _exact_rings(self) -> list[list[PixelRing]]:
        return exact_rings(self.pixels, offset=(self.left, self.top)) if self.area else []

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
        return packed(self.pixels, (self.left, self.top), self.size)

    def png(self) -> bytes:
        """The mask of the whole image as an 8-bit greyscale PNG of 0 and 255."""
        # Masks are so regular that filters, and more than run lengths, cost time and save nothing.
        options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
        strategy = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
        level = (cv2.IMWRITE_PNG_COMPRESSION, 1)
        _, written = cv2.imencode(".png", self._full(255), [*level, *options, *strategy])
        return written.tobytes()

    def to_coco(
        self,
        *,
        id: int,
        image_id: int,
        category_id: int,
        form: Literal["rle", "polygon"] = "rle",
        tolerance: float = 0.0,
    ) -> CocoAnnotation:
        """The mask as an entry of a COCO file's ``annotations``.

        Args:
            id: number of the annotation, which no other in the file has.
            image_id: of the file's ``images``.
            category_id: of the file's ``categories``.
            form: of ``segmentation``. ``rle`` is exact. ``polygon`` is one ring for each component:
                COCO has no holes in polygons, so they are filled there, but ``area`` is the mask's.
            tolerance: of the polygons, in pixels; see ``polygon``.

        Raises:
            ValueError: the mask is empty, the form is unknown, or the tolerance is not finite or
                below 0.
        """
        if not self.area:
            raise ValueError("The mask is empty, and a COCO annotation needs pixels.")
        if form not in ("rle", "polygon"):
            raise ValueError(f"form is {form!r}; it must be 'rle' or 'polygon'.")
        segmentation: CocoRle | list[list[int]]
        if form == "rle":
            segmentation = self.rle()
        else:
            segmentation = [
                [number for point in part["exterior"] for number in point]
                for part in self.polygon(tolerance)
            ]
        x0, y0, x1, y1 = self.region
        return CocoAnnotation(
            id=id,
            image_id=image_id,
            category_id=category_id,
            bbox=[x0, y0, x1 - x0, y1 - y0],
            area=self.area,
            iscrowd=0,
            segmentation=segmentation,
            score=self.score,
        )

    def to_detections(self, *, class_id: int | None = None) -> supervision.Detections:
        """The mask as ``supervision.Detections``; see ``Masks.to_detections``."""
        return Masks([self]).to_detections(class_id=class_id)


class Masks(list[Mask]):
    """Masks of one image, in the order of their boxes: a list with forms for all of them."""

    def to_coco(
        self,
        *,
        image_id: int,
        category_id: int | Sequence[int],
        first_id: int = 1,
        form: Literal["rle", "polygon"] = "rle",
        tolerance: float = 0.0,
    ) -> list[CocoAnnotation]:
        """The masks as entries of a COCO file's ``annotations``, without the empty ones.

        Args:
            category_id: of all masks, or of each.
            first_id: number of the first annotation; the others follow.
            image_id, form, tolerance: see ``Mask.to_coco``.

        Raises:
            ValueError: there are not as many categories as masks; or see ``Mask.to_coco``.
        """
        categories = _for_each(category_id, self, "category_id")
        drawn = [(mask, each) for mask, each in zip(self, categories, strict=True) if mask.area]
        return [
            mask.to_coco(
                id=number, image_id=image_id, category_id=each, form=form, tolerance=tolerance
            )
            for number, (mask, each) in enumerate(drawn, start=first_id)
        ]

    def to_detections(
        self, *, class_id: int | Sequence[int] | None = None
    ) -> supervision.Detections:
        """The masks as one ``supervision.Detections``, without the empty ones.

        ``xyxy`` holds the tight boxes, ``mask`` the pixels (bool [N, H, W]), ``confidence`` the
        scores, and ``data["index"]`` the place of each in this list.

        Args:
            class_id: of all masks, or of each. Without it supervision's annotators need
                ``color_lookup=supervision.ColorLookup.INDEX``.

        Raises:
            ImportError: supervision is not installed.
            ValueError: there are not as many classes as masks.
        """
        import supervision

        classes = None if class_id is None else np.array(_for_each(class_id, self, "class_id"))
        index = [number for number, mask in enumerate(self) if mask.area]
        if not index:
            return supervision.Detections.empty()
        drawn = [self[number] for number in index]
        return supervision.Detections(
            xyxy=np.array([mask.region for mask in drawn], np.float32),
            mask=np.stack([mask.array for mask in drawn]),
            confidence=np.array([mask.score for mask in drawn], np.float32),
            class_id=None if classes is None else classes[index],
            data={"index": np.array(index)},
        )


def _for_each(number: int | Sequence[int], masks: Masks, name: str) -> list[int]:
    numbers = [number] * len(masks) if isinstance(number, int | np.integer) else list(number)
    if len(numbers) != len(masks):
        raise ValueError(f"{name} has {len(numbers)} entries for {len(masks)} masks.")
    return numbers


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
