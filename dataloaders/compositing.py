"""Augmentation of whole samples: objects turned and scaled, in front of other photographs, behind
other objects.

A pasted object brings its own mask, so every composite is labelled exactly as well as the sample
it was made from. Masks move with nearest-neighbour sampling; photographs are blended over about
one pixel, because a hard seam would tell the network where to cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.samples import Sample

Affine = NDArray[np.floating[Any] | np.integer[Any]]  # [2, 3], source pixel to target pixel
SEAM = 0.7
"""Standard deviation in pixels of the blur of a pasted object's outline."""
STILL_VISIBLE = 0.4
"""Share of an object that an occluder leaves visible; a composite that hides more is not made."""


def turn_and_scale(
    sample: Sample, rng: np.random.Generator, *, degrees: float, scale: tuple[float, float]
) -> Sample:
    """Turn and scale a sample about the centre of its photograph.

    Args:
        sample: left as it is.
        rng: draws the angle and the scale, both uniformly.
        degrees: the largest angle either way.
        scale: the smallest and the largest factor.

    Returns:
        A sample of the same size; what comes from beyond the photograph is black and void. The
        sample itself where its object would leave the photograph.
    """
    height, width = sample.mask.shape
    angle, factor = rng.uniform(-degrees, degrees), rng.uniform(*scale)
    affine = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
    mask = _warp_mask(sample.mask, affine, sample.mask.shape)
    if not mask.any():
        return sample
    beyond = _warp_mask(np.ones_like(sample.mask), affine, sample.mask.shape)
    return replace(
        sample,
        image=_warp_photo(sample.image, affine, sample.mask.shape),
        mask=mask,
        void=_warp_mask(sample.void, affine, sample.mask.shape) | ~beyond,
    )


def transplant(sample: Sample, ground: NDArray[np.uint8], rng: np.random.Generator) -> Sample:
    """Put a sample's object in front of another photograph.

    Args:
        sample: its object is taken, its surroundings are not.
        ground: uint8 [H, W, 3], RGB, of any size: the new surroundings.
        rng: draws where the object goes, its angle and its size.

    Returns:
        A sample of ``ground``'s size without void; the sample itself where its object would be
        cut to nothing.
    """
    height, width = ground.shape[:2]
    side = rng.uniform(0.25, 0.9) * min(height, width)
    centre = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height)
    affine = _placing(sample, rng, side=side, centre=centre)
    mask = _warp_mask(sample.mask, affine, (height, width))
    if not mask.any():
        return sample
    image = _blend(ground, _warp_photo(sample.image, affine, (height, width)), mask)
    return replace(sample, image=image, mask=mask, void=np.zeros_like(mask))


def occlude(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """Put another sample's object before, or beside, the object of ``sample``.

    Args:
        sample: its object loses what is hidden.
        other: its object is pasted, at a size comparable to the object's.
        rng: draws where it goes, its angle and its size.

    Returns:
        A sample of the same size; the sample itself where too little would stay visible.
    """
    x1, y1, x2, y2 = sample.tight_box()
    side = rng.uniform(0.3, 1.0) * max(x2 - x1, y2 - y1)
    centre = (
        x1 + rng.uniform(-0.25, 1.25) * (x2 - x1),
        y1 + rng.uniform(-0.25, 1.25) * (y2 - y1),
    )
    affine = _placing(other, rng, side=side, centre=centre)
    hidden = _warp_mask(other.mask, affine, sample.mask.shape)
    mask = sample.mask & ~hidden
    if mask.sum() < STILL_VISIBLE * sample.mask.sum():
        return sample
    image = _blend(sample.image, _warp_photo(other.image, affine, sample.mask.shape), hidden)
    return replace(sample, image=image, mask=mask, void=sample.void & ~hidden)


def _placing(
    sample: Sample, rng: np.random.Generator, *, side: float, centre: tuple[float, float]
) -> Affine:
    """The map that turns the object a little, mirrors it half the time and puts it in place."""
    x1, y1, x2, y2 = sample.tight_box()
    factor = side / max(x2 - x1, y2 - y1)
    angle = np.deg2rad(rng.uniform(-25, 25))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    middle = np.array([(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2])
    return np.column_stack([linear, np.array(centre) - linear @ middle])


def _warp_photo(
    photo: NDArray[np.uint8], affine: Affine, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    size = (shape[1], shape[0])
    return cv2.warpAffine(photo, affine, size, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _warp_mask(
    mask: NDArray[np.bool_], affine: Affine, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    size = (shape[1], shape[0])
    return cv2.warpAffine(mask.astype(np.uint8), affine, size, flags=cv2.INTER_NEAREST) > 0


def _blend(
    below: NDArray[np.uint8], above: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), SEAM)[..., None]
    return (below + alpha * (above.astype(np.float32) - below)).round().astype(np.uint8)
