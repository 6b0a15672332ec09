"""A simulated annotator: where a person would click, given the truth and the mask so far."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.guidance import PixelXY, most_interior_point


class Click(NamedTuple):
    """A corrective click: ``xy`` is (column, row)."""

    xy: PixelXY
    positive: bool


def next_click(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], void: NDArray[np.bool_] | None = None
) -> Click | None:
    """Click the most interior point of the largest error (IOG, section 3.4).

    The map's edge counts as outside and the polarity is the truth's at the clicked pixel, both
    unlike the official code.

    Args:
        mask, truth, void: bool [H, W] of one frame; errors in void are not corrected.

    Returns:
        The click, or ``None`` when there is nothing to correct.
    """
    error = mask != truth
    if void is not None:
        error &= ~void
    point = most_interior_point(error)
    return None if point is None else Click(point, positive=bool(truth[point[1], point[0]]))


def inside_point(
    truth: NDArray[np.bool_], rng: np.random.Generator, *, depth: float = 0.4
) -> PixelXY | None:
    """A first click as people make them: somewhere well inside, not at the very centre.

    Args:
        truth: bool [H, W].
        rng: picks among the pixels at least ``depth`` times as deep as the deepest.
    """
    if not truth.any():
        return None
    inner = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    candidates = np.flatnonzero(inner >= depth * inner.max())
    row, column = np.unravel_index(int(rng.choice(candidates)), truth.shape)
    return int(column), int(row)
