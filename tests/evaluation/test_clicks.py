from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dataloaders.geometry import CropRule
from dataloaders.samples import Sample
from iog.evaluation.protocols import AnnotatorProtocol, annotate, first_prompt
from iog.evaluation.segmenters import PredictorSegmenter
from iog.models.spec import REGISTRY
from iog.predictor import Predictor


class ObedientEngine:
    """Marks a square around every click: enough clicks cover any object."""

    name, device, precision = "obedient", "cpu", "fp32"
    has_click_branch, click_maps = True, 2

    def __init__(self, rule: CropRule) -> None:
        self.spec = replace(REGISTRY["iog-lite"], crop=rule, threshold=0.5)

    def encode(self, x: NDArray[np.float32]) -> None:
        return None

    def decode(self, encoded: None, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        near: NDArray[np.float32] = (clicks[0] > 60).astype(np.float32)
        return near

    def nbytes(self, encoded: None) -> int:
        return 0


@pytest.fixture
def sample() -> Sample:
    mask = np.zeros((60, 60), np.bool_)
    mask[10:50, 20:40] = True
    return Sample(
        image=np.zeros((60, 60, 3), np.uint8),
        mask=mask,
        void=np.zeros_like(mask),
        image_id="a",
        object_index=0,
        category="",
        subset="",
    )


def test_every_correction_goes_where_the_error_is(sample: Sample) -> None:
    rule = CropRule(input_size=64, margin_px=6, corner_offset=2, fwhm=14)
    predictor: Predictor[Any] = Predictor(ObedientEngine(rule))
    steps = annotate(PredictorSegmenter(predictor), sample, first_prompt(sample), threshold=0.5)
    scores = [step.iou for _, step in zip(range(7), steps, strict=False)]
    assert len(scores) == 7
    assert scores == sorted(scores)
    assert scores[-1] > 2 * scores[0]


def test_a_perfect_mask_ends_the_clicks_and_keeps_its_score(sample: Sample) -> None:
    class Knowing(ObedientEngine):
        def decode(self, encoded: None, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
            probability = np.zeros((48, 48), np.float32)
            probability[:] = 1
            return probability

    rule = CropRule(input_size=48, margin_px=0, corner_offset=0, fwhm=4)
    predictor: Predictor[Any] = Predictor(Knowing(rule))
    protocol = AnnotatorProtocol(threshold=0.5, clicks=4)
    assert protocol.score(PredictorSegmenter(predictor), sample).ious == (1.0,) * 4
