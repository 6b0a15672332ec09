"""Masks with errors, as they come from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from dataloaders.damage import damaged, dilated, eroded, shifted, side_of


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((60, 80), np.bool_)
    mask[20:40, 30:70] = True
    return mask


def test_a_mask_grows_and_shrinks_by_the_reach(square: np.ndarray) -> None:
    assert side_of(square) == pytest.approx(np.sqrt(20 * 40))
    smaller, larger = eroded(square, 3), dilated(square, 3)
    assert smaller.sum() == 14 * 34
    assert (larger.any(axis=1).sum(), larger.any(axis=0).sum()) == (26, 46)
    assert not (smaller & ~square).any()
    assert not (square & ~larger).any()
    whole = np.ones((5, 5), np.bool_)
    assert eroded(whole, 2).all()  # the image's edge is no outline
    assert not dilated(~whole, 2).any()


def test_a_mask_moves_and_what_leaves_the_image_is_lost(square: np.ndarray) -> None:
    moved = shifted(square, 15, -4)
    assert moved[16, 45]
    assert moved.sum() == 20 * 35
    assert np.array_equal(shifted(shifted(square, -3, 2), 3, -2), square)
    assert not shifted(square, 100, 0).any()


def test_damage_is_drawn_anew_and_leaves_something(square: np.ndarray) -> None:
    rng, before = np.random.default_rng(0), square.copy()
    found = [damaged(square, rng) for _ in range(60)]
    assert np.array_equal(square, before)
    assert all(mask.any() for mask in found)
    ious = [(mask & square).sum() / (mask | square).sum() for mask in found]
    assert 0.2 < min(ious) < 0.6
    assert np.median(ious) > 0.6
    assert 4 < sum(np.array_equal(mask, square) for mask in found) < 30
    assert any(mask.sum() > square.sum() for mask in found)
    assert any(mask.sum() < square.sum() for mask in found)
    point = np.zeros((5, 5), np.bool_)
    point[2, 2] = True
    assert all(damaged(point, rng).any() for _ in range(40))
