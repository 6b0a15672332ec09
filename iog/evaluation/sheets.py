"""Contact sheets: objects with the prompts, the mask and the truth, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, Point
from dataloaders.samples import Sample
from iog.overlay import draw
from iog.prompts import Prompt

__all__ = ["contact_sheet", "tile"]

SIDE = 200
"""Pixels of one picture; a tile has two, the prediction and the truth."""
CAPTION = 20
COLUMNS = 4
CONTEXT = 0.25
"""How much is shown around the box, as a share of its longer side."""
WHITE = 255

Picture = NDArray[np.uint8]


def tile(sample: Sample, mask: NDArray[np.bool_], prompt: Prompt, *, caption: str) -> Picture:
    """The object's surroundings twice, with the mask and the prompts, and with the truth.

    Args:
        sample: the object.
        mask: bool [H, W], the prediction.
        prompt: drawn with the mask.
        caption: a line of ASCII text.

    Returns:
        uint8 [SIDE + CAPTION, 2 * SIDE, 3], RGB.
    """
    x0, y0, x1, y1 = _surroundings(prompt.box, sample.mask.shape)
    scale = SIDE / max(x1 - x0, y1 - y0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    # Scaled first and drawn on then, so that lines are as thin on small objects as on large ones.
    image = np.asarray(cv2.resize(sample.image[y0:y1, x0:x1], size), np.uint8)

    def place(point: Point) -> Point:
        return (point[0] - x0) * scale, (point[1] - y0) * scale

    def scaled(region: NDArray[np.bool_]) -> NDArray[np.uint8]:
        cut = region[y0:y1, x0:x1].astype(np.uint8)
        return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    found = draw(
        image,
        scaled(mask),
        boxes=[(*place(prompt.box[:2]), *place(prompt.box[2:]))],
        pos_points=[place(point) for point in prompt.pos_points],
        neg_points=[place(point) for point in prompt.neg_points],
    )
    out = np.full((SIDE + CAPTION, 2 * SIDE, 3), WHITE, np.uint8)
    for left, picture in ((0, found), (SIDE, draw(image, scaled(sample.mask)))):
        out[CAPTION : CAPTION + size[1], left : left + size[0]] = picture
    cv2.putText(
        out, caption, (2, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
    )
    return out


def contact_sheet(tiles: Sequence[Picture]) -> Picture:
    """Tiles in rows of ``COLUMNS``, on white: uint8 [H, W, 3], RGB."""
    blank = np.full_like(tiles[0], WHITE)
    missing = -len(tiles) % COLUMNS
    padded = [*tiles, *[blank] * missing] if len(tiles) > COLUMNS else list(tiles)
    width = min(len(padded), COLUMNS)
    rows = [np.hstack(padded[i : i + width]) for i in range(0, len(padded), width)]
    return np.vstack(rows)


def _surroundings(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    pad = max(4.0, CONTEXT * max(x2 - x1, y2 - y1))
    return (
        max(int(x1 - pad), 0),
        max(int(y1 - pad), 0),
        min(int(x2 + pad) + 1, shape[1]),
        min(int(y2 + pad) + 1, shape[0]),
    )
