"""Scores of one mask against the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_], void: NDArray[np.bool_]) -> float:
    """Intersection over union of two bool [H, W] masks, void pixels left out; empty on empty is 1.

    This is the official protocol's Jaccard index (IOG, section 4).
    """
    counted = ~void
    union = np.count_nonzero((mask | truth) & counted)
    return 1.0 if union == 0 else np.count_nonzero(mask & truth & counted) / union
