"""What a request gets: the mask of its objects, put together from the network's probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Region, SizeHW
from iog.masks import tight_bounds
from iog.predictor import ObjectProbability

__all__ = ["Canvas", "Prediction"]

# Confidence is the mean over every pixel of a mask up to this size, and over every second, third,
# ... row of a larger one, which changes it in the fourth decimal.
_AVERAGED_PIXELS = 1 << 20


@dataclass(frozen=True)
class Prediction:
    """The mask of one request, image frame."""

    mask: NDArray[np.uint8]
    """[H, W], 0 or 1, C-contiguous: the union of all boxes' objects."""
    confidence: float
    """Mean probability over the mask's pixels, 0..1; 0 for an empty mask."""
    bounds: Region | None
    """The smallest region outside of which the mask is 0; ``None`` when it is empty."""
    area: int
    """Pixels of the mask."""
    timings: dict[str, float] = field(default_factory=dict)
    """Milliseconds: ``decode`` (the image file), ``network`` (crop, guidance, network) and
    ``paste`` (back to the image)."""


class Canvas:
    """Collects the objects of one request.

    Args:
        size: height and width of the image.
        threshold: probability above which a pixel is object.
    """

    def __init__(self, size: SizeHW, threshold: float) -> None:
        self._mask = np.zeros(size, np.uint8)
        self._threshold = threshold
        self._total, self._count = 0.0, 0
        self._regions: list[Region] = []

    def add(self, found: ObjectProbability) -> None:
        """Draw one object: its probability above the threshold, at the resolution of the image."""
        size = (self._mask.shape[0], self._mask.shape[1])
        for values, region in found.crop.paste_strips(found.probability, size):
            x0, y0, x1, y1 = region
            drawn = (values > self._threshold).view(np.uint8)
            area = cv2.countNonZero(drawn)
            if not area:
                continue
            self._mask[y0:y1, x0:x1] |= drawn
            self._total += area * _mean(values, drawn, area)
            self._count += area
            self._regions.append(region)

    def finish(self, timings: dict[str, float]) -> Prediction:
        """What was drawn so far.

        Args:
            timings: milliseconds, see `Prediction`.
        """
        if not self._regions:
            return Prediction(self._mask, 0.0, None, 0, timings)
        lefts, tops, rights, bottoms = zip(*self._regions, strict=True)
        region = min(lefts), min(tops), max(rights), max(bottoms)
        bounds = tight_bounds(self._mask, bounds=region)
        x0, y0, x1, y1 = region
        area = cv2.countNonZero(self._mask[y0:y1, x0:x1])  # less than the sum where objects overlap
        return Prediction(self._mask, self._total / self._count, bounds, area, timings)


def _mean(values: NDArray[np.float32], drawn: NDArray[np.uint8], area: int) -> float:
    """Mean over the ``area`` pixels of ``drawn``, or over some of their rows.

    A mask of several million pixels has some in many rows, for no row is longer than 65,535.
    """
    step = max(1, area // _AVERAGED_PIXELS)
    rows = np.minimum(values[::step], np.float32(1))  # a bicubic resize may pass 1
    return float(cv2.mean(rows, mask=np.ascontiguousarray(drawn[::step]))[0])
