from __future__ import annotations

import numpy as np
import pytest

from dataloaders.geometry import Crop, CropRule
from evaluation.scores import iou
from tests import reference


@pytest.mark.parametrize("name", reference.CASES)
def test_scores_of_pasted_probabilities_equal_the_official_ones(name: str) -> None:
    mask, void = reference.case_masks(name)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = Crop.around((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), CropRule())
    pasted = crop.paste(reference.prediction(), (mask.shape[0], mask.shape[1]))
    figures = reference.case_figures(name)["jaccard_raw_thresholds"]
    for threshold, expected in figures.items():
        assert iou(pasted > float(threshold), mask, void) == pytest.approx(expected, abs=1e-9)


def test_void_counts_neither_way_and_empty_on_empty_is_one() -> None:
    mask = np.array([[True, True, False, False]])
    truth = np.array([[True, False, True, False]])
    nothing = np.zeros_like(mask)
    assert iou(mask, truth, nothing) == pytest.approx(1 / 3)
    assert iou(mask, truth, np.array([[False, True, False, False]])) == pytest.approx(1 / 2)
    assert iou(nothing, nothing, nothing) == 1
    assert iou(nothing, truth, nothing) == 0
