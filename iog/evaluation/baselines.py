"""What a model has to beat: the box itself, the ellipse inside it, and GrabCut."""

from __future__ import annotations

import math
from collections.abc import Hashable

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, clamp_box
from iog.evaluation.segmenters import Segmenter
from iog.prompts import Prompt

__all__ = ["BASELINES", "FullBox", "GrabCut", "InscribedEllipse"]

ITERATIONS = 5
CLICK_RADIUS = 3
"""Pixels around a click that GrabCut takes as certain."""


class FullBox:
    """The box, filled; clicks change nothing."""

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability 0 or 1, float32 [H, W]; see ``Segmenter``."""
        out = np.zeros(image.shape[:2], np.float32)
        x0, y0, x1, y1 = _pixels(prompt.box, image)
        out[y0:y1, x0:x1] = 1
        return out


class InscribedEllipse:
    """The ellipse that touches the box's four sides; clicks change nothing."""

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability 0 or 1, float32 [H, W]; see ``Segmenter``."""
        x1, y1, x2, y2 = prompt.box
        rows, columns = (np.arange(length) + 0.5 for length in image.shape[:2])
        across = ((2 * columns - x1 - x2) / (x2 - x1)) ** 2
        down = ((2 * rows - y1 - y2) / (y2 - y1)) ** 2
        return (across[None, :] + down[:, None] <= 1).astype(np.float32)


class GrabCut:
    """OpenCV's GrabCut (Rother et al., SIGGRAPH 2004) with the box and the clicks.

    Outside the box is certain background, inside it probable object, and a small disc around each
    click is certain. Where that leaves no background, or the cut keeps nothing, the box is the
    answer.
    """

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability 0 or 1, float32 [H, W]; see ``Segmenter``."""
        x0, y0, x1, y1 = _pixels(prompt.box, image)
        labels = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
        labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
        clicks = ((prompt.pos_points, cv2.GC_FGD), (prompt.neg_points, cv2.GC_BGD))
        for points, label in clicks:
            for x, y in points:
                centre = (math.floor(x), math.floor(y))
                cv2.circle(labels, centre, CLICK_RADIUS, label, cv2.FILLED)
        object_ = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if object_.all() or not object_.any():
            return object_.astype(np.float32)
        cv2.setRNGSeed(0)  # its clusters begin at random
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        bgr = np.ascontiguousarray(image[..., ::-1])
        cv2.grabCut(
            bgr, labels, (0, 0, 1, 1), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK
        )
        found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return (found if found.any() else object_).astype(np.float32)


BASELINES: dict[str, Segmenter] = {
    "box": FullBox(),
    "ellipse": InscribedEllipse(),
    "grabcut": GrabCut(),
}
"""By the name that `iog evaluate --model` takes."""


def _pixels(box: Box, image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The whole pixels that the box covers, clamped to the image; x1 and y1 exclusive."""
    visible = clamp_box(box, (image.shape[0], image.shape[1]))
    if visible is None:
        return 0, 0, 0, 0
    return (
        math.floor(visible[0]),
        math.floor(visible[1]),
        math.ceil(visible[2]),
        math.ceil(visible[3]),
    )
