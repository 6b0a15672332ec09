from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataloaders.annotator import inside_point, next_click

MASKS = hnp.arrays(np.bool_, (16, 20))


def _square(left: int, top: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 40), np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_missed_part_gets_a_positive_click_in_its_middle() -> None:
    click = next_click(_square(5, 5, 10), _square(5, 5, 10) | _square(25, 25, 9))
    assert click is not None
    assert click.positive
    assert click.xy == (29, 29)


def test_the_polarity_is_read_at_the_clicked_pixel() -> None:
    """(x, y) = (30, 8) is too much, (8, 30) missing: transposed indices would swap them."""
    click = next_click(_square(26, 4, 9), np.zeros((40, 40), np.bool_))
    assert click is not None
    assert not click.positive
    assert click.xy == (30, 8)


def test_an_error_at_the_border_is_clicked_inside_the_image() -> None:
    click = next_click(_square(0, 0, 9), np.zeros((40, 40), np.bool_))
    assert click is not None
    assert click.xy == (4, 4)


def test_a_perfect_mask_and_errors_in_void_get_no_click() -> None:
    mask = _square(5, 5, 10)
    assert next_click(mask, mask) is None
    assert next_click(mask, np.zeros_like(mask), void=mask) is None


@given(MASKS, MASKS)
def test_a_click_lies_on_an_error_and_says_what_is_true_there(
    mask: np.ndarray, truth: np.ndarray
) -> None:
    click = next_click(mask, truth)
    assert (click is None) == bool((mask == truth).all())
    if click is not None:
        x, y = click.xy
        assert mask[y, x] != truth[y, x]
        assert click.positive == truth[y, x]


@given(MASKS, st.integers(0, 2**32))
def test_a_first_click_lies_inside(truth: np.ndarray, seed: int) -> None:
    point = inside_point(truth, np.random.default_rng(seed))
    assert (point is None) == (not truth.any())
    if point is not None:
        assert truth[point[1], point[0]]


def test_first_clicks_vary_but_keep_off_the_border() -> None:
    rng = np.random.default_rng(0)
    points = [inside_point(_square(5, 5, 30), rng) for _ in range(50)]
    assert len(set(points)) > 20
    assert all(p is not None and 10 <= p[0] < 30 and 10 <= p[1] < 30 for p in points)


@pytest.mark.parametrize("depth", [0.0, 1.0])
def test_depth_says_how_far_inside(depth: float) -> None:
    rng = np.random.default_rng(0)
    points = {inside_point(_square(5, 5, 31), rng, depth=depth) for _ in range(200)}
    assert (points == {(20, 20)}) == (depth == 1.0)
