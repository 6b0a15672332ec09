"""What an annotator says about objects: boxes and clicks, checked and clamped to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dataloaders.geometry import Box, Point, Size, clamp_box, clamp_point
from iog.errors import UnusableRequest

__all__ = ["Prompt", "clamped_box", "one_box", "ordered_boxes", "prompts_for", "split_clicks"]

_A_BOX = "A box is four finite numbers: x1, y1, x2, y2."
_CLICKS = "point_coords is not [N, 2]: x and y of each click, finite numbers."


@dataclass(frozen=True)
class Prompt:
    """What an annotator says about one object, image frame."""

    box: Box
    pos_points: tuple[Point, ...] = ()
    """Clicks on the object. The first is the inside point."""
    neg_points: tuple[Point, ...] = ()
    """Clicks on the background."""

    def moved(self, box: Box) -> Prompt:
        """The prompt with another box, without the clicks on the object that lie outside it."""
        x1, y1, x2, y2 = box
        inside = tuple(p for p in self.pos_points if x1 <= p[0] <= x2 and y1 <= p[1] <= y2)
        return Prompt(box, inside, self.neg_points)


def one_box(box: ArrayLike) -> Box:
    """A box with ordered corners, of finite numbers."""
    row = _numbers(box, _A_BOX)
    if row.shape != (4,):
        raise ValueError(f"box is {_shape(row)}, not [4].")
    return ordered_boxes(row[None])[0]


def ordered_boxes(boxes: ArrayLike | Sequence[ArrayLike]) -> list[Box]:
    """Boxes with ordered corners, of finite numbers."""
    rows = _numbers(boxes, _A_BOX)
    if rows.size == 0:
        return []
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"boxes is {_shape(rows)}, not [N, 4]: give a list of boxes.")
    if not np.isfinite(rows).all():
        raise ValueError(_A_BOX)
    return [
        (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in rows.tolist()
    ]


def split_clicks(
    coords: ArrayLike | None, labels: ArrayLike | None, size: Size
) -> tuple[list[Point], list[Point]]:
    """Clicks on the object and on the background, clamped to the image."""
    points = np.zeros((0, 2)) if coords is None else _numbers(coords, _CLICKS)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(_CLICKS)
    kinds = [1] * len(points) if labels is None else _listed(labels)
    if len(kinds) != len(points):
        raise ValueError(
            f"point_labels has {_count(len(kinds), 'label')} for {_count(len(points), 'click')}."
        )
    for kind in kinds:
        if kind not in (0, 1):
            raise ValueError(
                f"point_labels holds {kind!r}; a label is 1 (object) or 0 (background)."
            )
    frame = (0.0, 0.0, float(size[1]), float(size[0]))
    clamped = [
        (kind, clamp_point((x, y), frame))
        for kind, (x, y) in zip(kinds, points.tolist(), strict=True)
    ]
    return [p for kind, p in clamped if kind], [p for kind, p in clamped if not kind]


def prompts_for(
    boxes: Sequence[Box], positive: Sequence[Point], negative: Sequence[Point], size: Size
) -> list[Prompt]:
    """One prompt for each box, clamped to the image, each click where it belongs."""
    clamped = [clamped_box(box, number, size) for number, box in enumerate(boxes)]

    def share(points: Sequence[Point]) -> list[tuple[Point, ...]]:
        shares: list[list[Point]] = [[] for _ in clamped]
        for point in points if clamped else ():
            nearest = min(range(len(clamped)), key=lambda i: _distance(point, clamped[i]))
            shares[nearest].append(point)
        return [tuple(points) for points in shares]

    return [
        Prompt(box, inside, outside)
        for box, inside, outside in zip(clamped, share(positive), share(negative), strict=True)
    ]


def clamped_box(box: Box, number: int | None, size: Size) -> Box:
    """The part of a box that lies inside the image of a size.

    Args:
        box: corners ordered.
        number: its index among several, for the message; ``None`` for the only one.
        size: of the image.

    Raises:
        UnusableRequest: nothing does, or the box has no area or is smaller than a pixel.
    """
    clamped = clamp_box(box, size)
    height, width = size
    x1, y1, x2, y2 = box
    which = "The box" if number is None else f"Box {number + 1}"
    named = f"{which} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g})"
    if x1 == x2 or y1 == y2:
        raise UnusableRequest(
            "empty_box",
            f"{named} has no area.",
            field="obj_bbox",
            hint="Draw the box around the object, from one corner to the opposite one.",
        )
    if clamped is None:
        raise UnusableRequest(
            "box_outside_image",
            f"{named} lies outside the image of {width} x {height} pixels.",
            field="obj_bbox",
            hint=f"Send corners between (0, 0) and ({width}, {height}).",
        )
    if max(x2 - x1, y2 - y1) < 1 < max(size):
        raise UnusableRequest(
            "empty_box",
            f"{named} is smaller than a pixel.",
            field="obj_bbox",
            hint="Send pixels, not fractions of the image: "
            f"corners between (0, 0) and ({width}, {height}).",
        )
    return clamped


def _distance(point: Point, box: Box) -> tuple[float, float]:
    """How far a point is from a box (0 inside), then the box's area: the smaller of two wins."""
    dx = max(box[0] - point[0], 0.0, point[0] - box[2])
    dy = max(box[1] - point[1], 0.0, point[1] - box[3])
    return dx * dx + dy * dy, (box[2] - box[0]) * (box[3] - box[1])


def _numbers(values: ArrayLike | Sequence[ArrayLike], wanted: str) -> NDArray[np.float64]:
    """Values as float64; ``wanted`` says what they should be where they are no numbers."""
    try:
        found = np.asarray(values)
        if found.dtype.kind in "biufO":  # text would be read as numbers
            return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):  # ragged, or of objects
        pass
    raise ValueError(wanted)


def _listed(labels: ArrayLike) -> list[Any]:
    try:
        listed: list[Any] = np.asarray(labels).reshape(-1).tolist()
    except ValueError:  # ragged
        raise ValueError("point_labels is not [N]: one label for each click.") from None
    return listed


def _shape(array: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
