"""Masks as they come from elsewhere: too small, too large, shifted, coarse, with parts lost."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def side_of(mask: Bools) -> float:
    """The side of the square that has the area of the mask's tight box, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    return math.sqrt((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))


def eroded(mask: Bools, reach: float) -> Bools:
    """The pixels that lie more than ``reach`` pixels inside; the image's edge is no outline."""
    if mask.all():
        return mask.copy()
    return _depth(mask) > reach


def dilated(mask: Bools, reach: float) -> Bools:
    """The mask and all pixels at most ``reach`` pixels outside."""
    return ~eroded(~mask, reach)


def shifted(mask: Bools, dx: int, dy: int) -> Bools:
    """The mask moved right and down; what leaves the image is lost."""
    height, width = mask.shape
    dx, dy = min(max(dx, -width), width), min(max(dy, -height), height)
    out = np.zeros_like(mask)
    out[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return out


def damaged(mask: Bools, rng: np.random.Generator) -> Bools:
    """A true mask with no, one or two errors.

    An error is a shift, a margin of 1 to 15 % of the side too little or too much, a coarse outline,
    or a part lost or added. A fifth of the masks have none, so that a network keeps what is right.

    Args:
        mask: bool [H, W] with at least one pixel; stays as it is.
        rng: draws the errors.

    Returns:
        bool [H, W] with at least one pixel.
    """
    out = mask
    for _ in range(int(rng.choice(3, p=(0.2, 0.6, 0.2)))):
        changed = _damaged_once(out, rng)
        if changed.any():
            out = changed
    return out.copy()


def _damaged_once(mask: Bools, rng: np.random.Generator) -> Bools:
    side = side_of(mask)
    reach = side * float(rng.uniform(0.01, 0.15))
    kind = rng.random()
    if kind < 0.25:
        angle = float(rng.uniform(0.0, 2 * math.pi))
        return shifted(mask, round(reach * math.cos(angle)), round(reach * math.sin(angle)))
    if kind < 0.4:
        return eroded(mask, reach)
    if kind < 0.55:
        return dilated(mask, reach)
    if kind < 0.65:
        return _coarse(mask, cells=int(rng.integers(6, 20)))
    disc = _disc(mask, rng, radius=side * float(rng.uniform(0.1, 0.4)))
    return mask & ~disc if kind < 0.83 else mask | disc


def _disc(mask: Bools, rng: np.random.Generator, *, radius: float) -> Bools:
    """A disc about a pixel of the mask's outline."""
    rows, columns = np.nonzero(mask & (_depth(mask) <= 1.5))
    if not len(rows):
        rows, columns = np.nonzero(mask)
    at = int(rng.integers(len(rows)))
    yy, xx = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.asarray((yy - rows[at]) ** 2 + (xx - columns[at]) ** 2 <= radius**2)


def _coarse(mask: Bools, *, cells: int) -> Bools:
    """The mask as a grid of ``cells`` cells along its longer side would keep it."""
    height, width = mask.shape
    scale = cells / max(side_of(mask), cells)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = cv2.resize(mask.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)


def _depth(mask: Bools) -> NDArray[np.float32]:
    found = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return found.astype(np.float32, copy=False)
