"""Composites keep labels true: what the mask says is what the photograph shows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dataloaders.augmentation import copy_paste, occlude, random_affine
from dataloaders.samples import Sample

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def painted(
    mask: NDArray[np.bool_], colour: tuple[int, int, int], ground: tuple[int, int, int]
) -> Sample:
    """A sample whose object has a colour of its own."""
    image = np.where(mask[..., None], np.array(colour), np.array(ground)).astype(np.uint8)
    return Sample(image, mask, np.zeros_like(mask), "photo", 0, "", "")


def rectangle(shape: tuple[int, int], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """A mask with one filled rectangle."""
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def agreement(sample: Sample, colour: tuple[int, int, int]) -> float:
    """IoU of the mask with the pixels of ``colour``."""
    shown = (np.abs(sample.image.astype(int) - colour) < 100).all(axis=2) & ~sample.void
    truth = sample.mask & ~sample.void
    return float((shown & truth).sum() / (shown | truth).sum())


@pytest.fixture
def sample() -> Sample:
    return painted(rectangle((120, 160), slice(30, 90), slice(50, 110)), RED, BLUE)


@pytest.mark.parametrize("seed", range(8))
def test_a_turned_object_keeps_its_mask(sample: Sample, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned = random_affine(sample, rng, degrees=40, scale=(0.6, 1.4))
    assert agreement(turned, RED) > 0.95
    assert turned.image.shape == sample.image.shape
    assert not np.array_equal(turned.mask, sample.mask)


def test_what_comes_from_beyond_the_photograph_is_void(sample: Sample) -> None:
    shrunk = random_affine(sample, np.random.default_rng(0), degrees=0, scale=(0.5, 0.5))
    assert shrunk.void[:20].all()
    assert not shrunk.void[60, 80]
    assert shrunk.mask.sum() == pytest.approx(sample.mask.sum() / 4, rel=0.1)


def test_an_object_that_would_leave_the_photograph_stays() -> None:
    corner = painted(rectangle((120, 160), slice(0, 5), slice(0, 5)), RED, BLUE)
    grown = random_affine(corner, np.random.default_rng(0), degrees=0, scale=(3, 3))
    assert grown is corner


@pytest.mark.parametrize("seed", range(8))
def test_a_transplanted_object_stands_before_the_new_photograph(sample: Sample, seed: int) -> None:
    ground = np.full((90, 140, 3), GREEN, np.uint8)
    moved = copy_paste(sample, ground, np.random.default_rng(seed))
    assert moved.image.shape == ground.shape
    assert moved.mask.any()
    assert agreement(moved, RED) > 0.85
    assert (np.abs(moved.image.astype(int) - BLUE).sum(axis=2) > 100)[~moved.mask].mean() > 0.98


@pytest.mark.parametrize("seed", range(16))
def test_an_occluded_object_loses_what_is_hidden(sample: Sample, seed: int) -> None:
    other = painted(rectangle((80, 80), slice(20, 60), slice(20, 60)), GREEN, BLUE)
    occluded = occlude(sample, other, np.random.default_rng(seed))
    assert agreement(occluded, RED) > 0.85
    assert not (occluded.mask & ~sample.mask).any()
    assert occluded.mask.sum() >= 0.4 * sample.mask.sum()


def test_an_occluder_that_hides_too_much_is_left_out() -> None:
    thin = painted(rectangle((120, 160), slice(20, 80), slice(50, 60)), RED, BLUE)
    square = painted(np.ones((50, 50), bool), GREEN, GREEN)
    results = [occlude(thin, square, np.random.default_rng(seed)) for seed in range(60)]
    assert any(result is thin for result in results)


def test_samples_are_left_as_they_were(sample: Sample) -> None:
    image, mask = sample.image.copy(), sample.mask.copy()
    rng = np.random.default_rng(3)
    random_affine(sample, rng, degrees=20, scale=(0.7, 1.3))
    occlude(sample, sample, rng)
    copy_paste(sample, sample.image, rng)
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.mask, mask)
