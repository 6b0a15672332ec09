"""The way between the image frame and the network frame, and back.

Image frame: floats, origin at the top-left corner of the first pixel, so that pixel i covers
[i, i + 1): what CVAT sends. Network frame: the same convention on the square that the network
sees, ``CropRule.input_size`` pixels wide. The official IOG code works on inclusive pixel indices; a
box here becomes the smallest such pixel box that covers it, and from there every number is the
same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in the image frame, corners ordered."""
Point = tuple[float, float]
"""x, y in the image frame."""
Size = tuple[int, int]
"""H, W in pixels."""
Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive."""


STRIP_PIXELS = 32 << 20
"""Pixels of a window that are brought back to the image at a time: 128 MiB of probabilities."""

REDUCTIONS = (8, 4, 2)
"""Sides of the blocks of pixels that can be averaged first: what JPEG decoders do for nothing."""
_SPARE = 2
"""A window that is reduced keeps at least this many pixels for each of the network frame's."""
_INT32_SUMS = (2**31 - 1) // 255
"""So many pixels have a sum that fits 32 bits."""


def turned_box(box: Box, degrees: float) -> Box:
    """The upright box around a box that is turned about its centre."""
    x1, y1, x2, y2 = box
    if not degrees:
        return box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = abs(x2 - x1), abs(y2 - y1)
    half = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return (x - half[0], y - half[1], x + half[0], y + half[1])


@dataclass(frozen=True)
class CropRule:
    """How a model wants its input cropped and its guidance drawn; it belongs to the weights.

    The defaults are those of the published IOG weights (IOG, sections 3.2 and 4.1).
    """

    input_size: int = 512
    """Width and height of the network frame, in pixels."""
    margin_px: float = 30.0
    """Context kept on each side of the box, in image pixels; the least, if there is a ratio."""
    margin_ratio: float = 0.0
    """Context on each side as a share of the box's longer side."""
    margin_limit: float = 2.0
    """The most such a share may be, as a multiple of the side it lies along: a long thin box would
    otherwise ask for a window many times the size of the image."""
    corner_offset: int = 10
    """How far outside the box the four outside points lie, in network pixels."""
    fwhm: float = 10.0
    """Width of a guidance peak at half its height, in network pixels."""
    antialias: bool = False
    """Average where both sides shrink; the published weights were trained on plain sampling."""

    def __post_init__(self) -> None:
        """Refuse values that no network was or could be trained with.

        Raises:
            ValueError: names the field.
        """
        if self.input_size <= 0 or self.input_size % 16:
            raise ValueError(f"input_size is {self.input_size}, not a positive multiple of 16")
        if not self.fwhm > 0:
            raise ValueError(f"fwhm is {self.fwhm}, not above 0")
        for name in ("margin_px", "margin_ratio", "margin_limit", "corner_offset"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, not 0 or above")


def crop_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """A crop rule's fields as they lie in a file, under their present names.

    Files and recipes from before call ``input_size`` ``frame``.
    """
    return {"input_size" if name == "frame" else name: value for name, value in values.items()}


@dataclass(frozen=True)
class Crop:
    """One box's window into the image, and the exact way back.

    The window is not clamped to the image: what lies outside is zero, as in training.
    """

    box: Region
    left: int
    top: int
    width: int
    height: int
    rule: CropRule

    @classmethod
    def around(cls, box: Box, rule: CropRule) -> Crop:
        """The crop for ``box`` (x1, y1, x2, y2), image frame, corners ordered.

        Fractional boxes grow to whole pixels; a box without area covers the pixel it lies in.
        """
        x0, y0 = math.floor(box[0]), math.floor(box[1])
        x1, y1 = max(math.ceil(box[2]), x0 + 1), max(math.ceil(box[3]), y0 + 1)
        width, height = x1 - x0, y1 - y0
        wanted = rule.margin_ratio * max(width, height)
        pad_x, pad_y = (
            round(max(rule.margin_px, min(wanted, rule.margin_limit * side)))
            for side in (width, height)
        )
        return cls(
            box=(x0, y0, x1, y1),
            left=x0 - pad_x,
            top=y0 - pad_y,
            width=width + 2 * pad_x,
            height=height + 2 * pad_y,
            rule=rule,
        )

    @property
    def reduction(self) -> int:
        """The side of the blocks of pixels that may be averaged before the rest.

        1 where the rule samples single pixels, because averages would change what it sees.
        """
        if not self.rule.antialias:
            return 1
        least = min(self.width, self.height) // (_SPARE * self.rule.input_size)
        return next((block for block in REDUCTIONS if block <= least), 1)

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per image pixel, along x and y."""
        return self.rule.input_size / self.width, self.rule.input_size / self.height

    def to_network(self, point: Point) -> Point:
        """Map a point from the image frame to the network frame, without rounding."""
        sx, sy = self.scale
        return (point[0] - self.left) * sx, (point[1] - self.top) * sy

    def to_image(self, point: Point) -> Point:
        """Map a point from the network frame to the image frame: the inverse of ``to_network``."""
        sx, sy = self.scale
        return point[0] / sx + self.left, point[1] / sy + self.top

    def pixel(self, point: Point) -> tuple[int, int]:
        """The network pixel (column, row) a point of the image frame falls on, clamped."""
        last = self.rule.input_size - 1
        x, y = (math.floor(v) for v in self.to_network(point))
        return min(max(x, 0), last), min(max(y, 0), last)

    def outside_points(self) -> tuple[tuple[int, int], ...]:
        """The four corners outside the box, network pixels: LT, LB, RT, RB.

        The box's extreme pixels are those whose centre it covers after a bilinear resize; upper
        coordinates are clamped to the frame's size (one past the last index), as in training.
        """
        (x0, x1), (y0, y1) = (
            _resized_extent(start - origin, end - origin, scale)
            for start, end, origin, scale in zip(
                self.box[:2], self.box[2:], (self.left, self.top), self.scale, strict=True
            )
        )
        d, size = self.rule.corner_offset, self.rule.input_size
        left, top = max(x0 - d, 0), max(y0 - d, 0)
        right, bottom = min(x1 + d, size), min(y1 + d, size)
        return (left, top), (left, bottom), (right, top), (right, bottom)

    def extract(self, image: NDArray[np.uint8], *, reduced: int = 1) -> NDArray[np.float32]:
        """Cut the window out of an image and resize it to the network frame.

        Args:
            image: uint8 [H, W, 3], RGB, or [H, W] (a mask of 0 and 1).
            reduced: side of the blocks, counted from the image's first corner, of which each pixel
                of ``image`` is the mean; 1 or ``reduction``. A block that ends outside the image
                counts as inside.

        Returns:
            float32 [S, S, 3] or [S, S] in the range of the input; zero outside the image.
        """
        size = self.rule.input_size
        if reduced > 1:
            return self._average(image, block=reduced)
        if self.reduction > 1:
            return self._average(*self._blocks(image), block=self.reduction)
        shrinks = self.width > size and self.height > size
        if self.rule.antialias and shrinks:
            window = self._window(image)
            averaged = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
            return averaged.astype(np.float32)
        if self.width * self.height > (2 * size) ** 2:
            return self._sample(image)
        window = self._window(image).astype(np.float32)
        resized = cv2.resize(window, (size, size), interpolation=cv2.INTER_LINEAR)
        return resized.astype(np.float32, copy=False)

    def _blocks(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, int]:
        """The means of the blocks that the window touches, and which column and row come first."""
        block = self.reduction
        x0, y0, x1, y1 = self.visible((image.shape[0], image.shape[1]))
        column, row = x0 // block, y0 // block
        part = image[row * block : max(y1, 0), column * block : max(x1, 0)]
        if not part.size:
            return image[:0, :0], 0, 0
        down, right = -part.shape[0] % block, -part.shape[1] % block
        if down or right:  # where the image ends
            padding = ((0, down), (0, right), (0, 0))[: image.ndim]
            part = np.pad(part, padding, mode="edge")
        size = (part.shape[1] // block, part.shape[0] // block)
        blocks = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        return blocks.astype(np.uint8, copy=False), column, row

    def _average(
        self, blocks: NDArray[np.uint8], column: int = 0, row: int = 0, *, block: int
    ) -> NDArray[np.float32]:
        """The mean over each pixel of the network frame, whose edges may cut through blocks.

        Pixels within a block are equal, so a sum that ends inside a block is interpolated linearly.

        Args:
            blocks: uint8 [H, W, 3] or [H, W].
            column: where the first of them lies, in blocks from the image's corner.
            row: likewise.
            block: side of a block in image pixels.
        """
        size = self.rule.input_size
        steps = np.arange(size + 1) / size
        x = np.clip((self.left + steps * self.width) / block - column, 0, blocks.shape[1])
        y = np.clip((self.top + steps * self.height) / block - row, 0, blocks.shape[0])
        x0, y0 = int(x[0]), int(y[0])
        part = blocks[y0 : math.ceil(y[-1]), x0 : math.ceil(x[-1])]
        if not part.size:
            return np.zeros((size, size, *blocks.shape[2:]), np.float32)
        sums = cv2.integral(part, sdepth=cv2.CV_64F if part.size > _INT32_SUMS else cv2.CV_32S)
        edges = between(between(sums, y - y0, axis=0), x - x0, axis=1)
        area = self.width * self.height / (size * block) ** 2
        means: NDArray[np.float32] = (np.diff(np.diff(edges, axis=0), axis=1) / area).astype(
            np.float32
        )
        return means

    def _sample(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What a bilinear resize of the window gives, from the pixels alone that it looks at.

        A large window has many times more pixels than that, and converting them all to float
        would take longer than anything else here.
        """
        height, width = image.shape[:2]
        rows = Taps.along(self.height, self.rule.input_size, origin=self.top, limit=height)
        columns = Taps.along(self.width, self.rule.input_size, origin=self.left, limit=width)
        channels = (1,) * (image.ndim - 2)
        out = np.zeros((self.rule.input_size, self.rule.input_size, *image.shape[2:]), np.float32)
        for row, row_weight in rows:
            line = image.take(row, axis=0)
            for column, column_weight in columns:
                weight = row_weight[:, None] * column_weight[None, :]
                out += line.take(column, axis=1) * weight.reshape(*weight.shape, *channels)
        return out

    def _window(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        x0, y0, x1, y1 = self.visible((height, width))
        if x0 >= x1 or y0 >= y1:
            return np.zeros((self.height, self.width, *image.shape[2:]), np.uint8)
        if (x1 - x0, y1 - y0) == (self.width, self.height):
            return image[y0:y1, x0:x1]
        window = np.zeros((self.height, self.width, *image.shape[2:]), np.uint8)
        window[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = image[y0:y1, x0:x1]
        return window

    def visible(self, image_size: Size) -> Region:
        """The part of the window that lies inside an image of ``image_size`` (H, W)."""
        height, width = image_size
        return (
            max(self.left, 0),
            max(self.top, 0),
            min(self.left + self.width, width),
            min(self.top + self.height, height),
        )

    def paste_strips(
        self, probability: NDArray[np.float32], image_size: Size
    ) -> Iterator[tuple[NDArray[np.float32], Region]]:
        """Bring a probability map back to image pixels, where the window shows the image.

        Args:
            probability: float32 [S, S], network frame.
            image_size: (H, W).

        Yields:
            float32 [h, w] and its place in the image: all of it at once, or a very large window
            in strips from top to bottom, so that memory stays bounded. The bicubic resize may
            leave 0..1 slightly.
        """
        x0, y0, x1, y1 = self.visible(image_size)
        if x0 >= x1 or y0 >= y1:
            return
        if self.width * self.height <= STRIP_PIXELS:
            size = (self.width, self.height)
            whole = cv2.resize(probability, size, interpolation=cv2.INTER_CUBIC)
            place = np.s_[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            yield whole.astype(np.float32, copy=False)[place], (x0, y0, x1, y1)
            return
        step = max(1, STRIP_PIXELS // max(self.width, self.rule.input_size))
        for start in range(y0, y1, step):
            end = min(start + step, y1)
            rows = cubic_rows(probability, self.height, start - self.top, end - self.top)
            # The height stays, so that this resizes along x alone.
            full = cv2.resize(rows, (self.width, end - start), interpolation=cv2.INTER_CUBIC)
            values = full.astype(np.float32, copy=False)[:, x0 - self.left : x1 - self.left]
            yield values, (x0, start, x1, end)

    def paste(self, probability: NDArray[np.float32], image_size: Size) -> NDArray[np.float32]:
        """Bring a probability map back into a whole image: float32 [H, W], 0 outside the window."""
        canvas = np.zeros(image_size, np.float32)
        for values, (x0, y0, x1, y1) in self.paste_strips(probability, image_size):
            canvas[y0:y1, x0:x1] = values
        return canvas


def _resized_extent(start: int, end: int, scale: float) -> tuple[int, int]:
    """First and last pixel over one half of a filled [start, end) after a bilinear resize."""
    return math.floor(start * scale - 0.5) + 1, math.ceil(end * scale - 0.5) - 1


def clamp_box(box: Box, image_size: Size) -> Box | None:
    """Clamp a box to an image of (H, W); ``None`` when nothing of it lies inside."""
    height, width = image_size
    x1, y1 = max(box[0], 0.0), max(box[1], 0.0)
    x2, y2 = min(box[2], float(width)), min(box[3], float(height))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def clamp_point(point: Point, region: Box) -> Point:
    """Move a point into ``region`` (x1, y1, x2, y2), to the centre of its outermost pixels."""
    return (
        min(max(point[0], region[0] + 0.5), max(region[2] - 0.5, region[0] + 0.5)),
        min(max(point[1], region[1] + 0.5), max(region[3] - 0.5, region[1] + 0.5)),
    )


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
