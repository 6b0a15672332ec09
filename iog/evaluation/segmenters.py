"""What is scored: anything that turns a box and clicks into a probability for every pixel."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from iog.image import Image
from iog.predictor import Predictor
from iog.prompts import Prompt

__all__ = ["PredictorSegmenter", "Segmenter"]


class Segmenter(Protocol):
    """A model or a baseline."""

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Segment the object that the prompt means.

        Args:
            image: uint8 [H, W, 3], RGB.
            prompt: the box and all clicks so far, image frame.
            image_key: identifies the image's content, so that work on it may be kept.

        Returns:
            float32 [H, W], probability, image frame; a bicubic resize may leave 0..1 slightly.
        """


class PredictorSegmenter:
    """A network: its prediction is brought back into the image, as in serving."""

    def __init__(self, predictor: Predictor[Any]) -> None:
        self._predictor = predictor

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability float32 [H, W], image frame; see ``Segmenter``."""
        self._predictor.set_image(Image(image, key=image_key))
        return self._predictor.probability(prompt)
