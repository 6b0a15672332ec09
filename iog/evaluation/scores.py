"""Scores of one mask against the truth."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["BOUNDARY_TOLERANCE", "boundary_f", "iou"]

BOUNDARY_TOLERANCE = 0.008
"""How far apart two boundaries may lie and still match, as a share of the image's diagonal."""

Mask = NDArray[np.bool_]


def iou(mask: Mask, truth: Mask, void: Mask) -> float:
    """Intersection over union of two bool [H, W] masks, void pixels left out; empty on empty is 1.

    This is the official protocol's Jaccard index (IOG, section 4).
    """
    counted = ~void
    union = np.count_nonzero((mask | truth) & counted)
    return 1.0 if union == 0 else np.count_nonzero(mask & truth & counted) / union


def boundary_f(
    mask: Mask, truth: Mask, void: Mask, *, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """Harmonic mean of boundary precision and recall (Perazzi et al., CVPR 2016, section 4).

    Precision is the share of the mask's boundary pixels that have one of the truth's within the
    tolerance, recall the share of the truth's that have one of the mask's. The image's edge is no
    boundary; boundary pixels in void are not counted, but may match.

    Args:
        mask, truth, void: bool [H, W].
        tolerance: share of the image's diagonal; rounded up to whole pixels.
    """
    height, width = truth.shape
    reach = math.ceil(tolerance * math.hypot(height, width))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    found, wanted = _boundary(mask), _boundary(truth)
    if not (found.any() and wanted.any()):
        return float(found.any() == wanted.any())
    precision = _matched(found & ~void, cv2.dilate(wanted.astype(np.uint8), disc))
    recall = _matched(wanted & ~void, cv2.dilate(found.astype(np.uint8), disc))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Mask) -> Mask:
    """The mask's pixels with a neighbour beside, above or below outside it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    eroded = np.asarray(cv2.erode(mask.astype(np.uint8), cross), np.bool_)
    return mask & ~eroded


def _matched(boundary: Mask, near: NDArray[np.generic]) -> float:
    count = np.count_nonzero(boundary)
    return float(np.count_nonzero(boundary & (near != 0)) / count) if count else 1.0
