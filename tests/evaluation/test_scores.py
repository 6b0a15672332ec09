from __future__ import annotations

import numpy as np
import pytest

from dataloaders.geometry import Crop, CropRule
from iog.evaluation.scores import boundary_f, iou
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


class TestBoundary:
    """In an image whose diagonal makes the tolerance one pixel."""

    square = np.zeros((60, 80), np.bool_)
    square[20:40, 20:40] = True
    nothing = np.zeros_like(square)

    def test_one_pixel_apart_matches_and_more_does_not(self) -> None:
        near, far = (np.roll(self.square, shift, axis=1) for shift in (1, 3))
        assert boundary_f(self.square, self.square, self.nothing) == 1
        assert boundary_f(near, self.square, self.nothing) == 1
        # Of the upper and of the lower side 18 pixels, and one pixel next to each, out of 76.
        assert boundary_f(far, self.square, self.nothing) == pytest.approx(0.5)

    def test_precision_and_recall_are_balanced(self) -> None:
        more = self.square.copy()
        more[50:53, 60:63] = True  # 8 boundary pixels that are not there
        precision = 76 / 84
        expected = 2 * precision / (precision + 1)
        assert boundary_f(more, self.square, self.nothing) == pytest.approx(expected)
        assert boundary_f(self.square, more, self.nothing) == pytest.approx(expected)

    def test_void_is_not_counted_and_still_matches(self) -> None:
        more = self.square.copy()
        more[50:53, 60:63] = True
        void = np.zeros_like(self.square)
        void[45:55, 55:70] = True
        assert boundary_f(more, self.square, void) == 1
        void[:] = True
        assert boundary_f(more, self.square, void) == 1

    def test_nothing_and_everything_have_no_boundary(self) -> None:
        everything = ~self.nothing
        assert boundary_f(self.nothing, self.nothing, self.nothing) == 1
        assert boundary_f(everything, everything, self.nothing) == 1
        assert boundary_f(self.nothing, self.square, self.nothing) == 0
        half = everything.copy()
        half[:, 40:] = False  # cut by the image's edge on three sides
        assert boundary_f(half, half, self.nothing) == 1
        assert boundary_f(half, everything, self.nothing) == 0
