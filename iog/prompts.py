"""What an annotator says about objects: boxes and clicks, checked and clamped to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dataloaders.geometry import Box, Point, Size, clamp_box, clamp_point
from iog.errors import UnusableRequest

__all__ = ["Prompt", "clamped_box", "ordered_boxes", "prompts_for", "split_clicks"]


@dataclass(frozen=True)
class Prompt:
    """What an annotator says about one object, image frame."""

    box: Box
    pos_points: tuple[Point, ...] = ()
    """Clicks on the object. The first is the inside point."""
    neg_points: tuple[Point, ...] = ()
    """Clicks on the background."""


def ordered_boxes(boxes: ArrayLike | Sequence[ArrayLike]) -> list[Box]:
    """Boxes with ordered corners, of finite numbers."""
    rows = np.asarray(boxes, np.float64)
    if rows.size == 0:
        return []
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        raise ValueError("A box is four finite numbers: x1, y1, x2, y2.")
    return [
        (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in rows.tolist()
    ]


def split_clicks(
    coords: ArrayLike | None, labels: ArrayLike | None, size: Size
) -> tuple[list[Point], list[Point]]:
    """Clicks on the object and on the background, clamped to the image."""
    points = np.zeros((0, 2)) if coords is None else np.asarray(coords, np.float64)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("point_coords is not [N, 2]: x and y of each click, finite numbers.")
    kinds = [1] * len(points) if labels is None else np.asarray(labels).reshape(-1).tolist()
    if len(kinds) != len(points) or any(kind not in (0, 1) for kind in kinds):
        raise ValueError("point_labels has not one 1 (object) or 0 (background) for each click.")
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


def clamped_box(box: Box, number: int, size: Size) -> Box:
    """The part of a box that lies inside the image of a size.

    Raises:
        UnusableRequest: nothing does, or the box is smaller than a pixel.
    """
    clamped = clamp_box(box, size)
    height, width = size
    x1, y1, x2, y2 = box
    if clamped is None:
        raise UnusableRequest(
            "box_outside_image",
            f"Box {number + 1} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) lies outside the image "
            f"of {width} x {height} pixels.",
            field="obj_bbox",
            hint=f"Send corners between (0, 0) and ({width}, {height}).",
        )
    if max(x2 - x1, y2 - y1) < 1 < max(size):
        raise UnusableRequest(
            "empty_box",
            f"Box {number + 1} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is smaller than a pixel.",
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
