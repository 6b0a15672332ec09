"""A picture of a mask and the prompts it came from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, Point, clamp_box, clamp_point

__all__ = ["draw"]

TINT = (30, 120, 255)
BOX = (255, 200, 0)
POSITIVE = (0, 190, 60)
NEGATIVE = (225, 30, 40)
WHITE = (255, 255, 255)
TINT_FRACTION = 0.45
# OpenCV takes circles in 1/16 pixels, so that a click is drawn where it was made.
_SHIFT = 4


def draw(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8] | NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    pos_points: Sequence[Point] = (),
    neg_points: Sequence[Point] = (),
) -> NDArray[np.uint8]:
    """Draw the mask tinted and outlined, boxes yellow, positive clicks green, negative ones red.

    Args:
        image: uint8 [H, W, 3], RGB.
        mask: uint8 or bool [H, W], not 0 where the object is.
        boxes: x1, y1, x2, y2, image frame; what lies outside the image is cut off.
        pos_points: x, y, image frame; outside the image they are drawn at its edge.
        neg_points: likewise.

    Returns:
        uint8 [H, W, 3], RGB, a new array.
    """
    height, width = mask.shape
    line = max(1, round(min(height, width) / 200))
    canvas = image.copy()
    inside = mask != 0
    tinted = canvas[inside] * (1 - TINT_FRACTION) + np.array(TINT) * TINT_FRACTION
    canvas[inside] = tinted.astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, WHITE, line)
    for box in boxes:
        _rectangle(canvas, box, line)
    for points, colour in ((pos_points, POSITIVE), (neg_points, NEGATIVE)):
        for point in points:
            _dot(canvas, point, colour, radius=3 * line)
    return canvas


def _rectangle(canvas: NDArray[np.uint8], box: Box, line: int) -> None:
    visible = clamp_box(box, (canvas.shape[0], canvas.shape[1]))
    if visible is None:
        return
    x1, y1, x2, y2 = visible
    first = (int(x1), int(y1))
    last = (max(int(np.ceil(x2)) - 1, first[0]), max(int(np.ceil(y2)) - 1, first[1]))
    cv2.rectangle(canvas, first, last, BOX, line)


def _dot(
    canvas: NDArray[np.uint8], point: Point, colour: tuple[int, int, int], *, radius: int
) -> None:
    x, y = clamp_point(point, (0.0, 0.0, float(canvas.shape[1]), float(canvas.shape[0])))
    # The image frame counts from the pixel's corner, OpenCV from its centre.
    centre = (round((x - 0.5) * 2**_SHIFT), round((y - 0.5) * 2**_SHIFT))
    for size, fill in ((radius + 1, WHITE), (radius, colour)):
        cv2.circle(canvas, centre, size << _SHIFT, fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)
