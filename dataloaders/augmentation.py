"""Augmentation for training, written by hand: torchvision's draws other numbers and has no masks of
void pixels.

Crops (float32 [S, S, 3], RGB in 0..255) change colours, sharpness and noise. Whole samples are
rotated and scaled, and objects are pasted onto other photographs or in front of other objects. A
pasted object brings its own mask, so every composite is labelled exactly as well as the sample
it was made from. Masks move with nearest-neighbour sampling; photographs are blended over about
one pixel, because a hard seam would show the network where to cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box
from dataloaders.samples import Sample

Photo = NDArray[np.float32]


def jitter_box(box: Box, rng: np.random.Generator, *, fraction: float) -> Box:
    """Move each side of ``box`` by a normal error of ``fraction`` of the box's width or height."""
    width, height = box[2] - box[0], box[3] - box[1]
    dx1, dx2 = rng.normal(0.0, fraction * width, 2)
    dy1, dy2 = rng.normal(0.0, fraction * height, 2)
    x1, x2 = sorted((box[0] + dx1, box[2] + dx2))
    y1, y2 = sorted((box[1] + dy1, box[3] + dy2))
    return float(x1), float(y1), float(max(x2, x1 + 1)), float(max(y2, y1 + 1))


def photometric(photo: Photo, rng: np.random.Generator) -> Photo:
    """Brightness, contrast, colour cast, grey, blur, noise and JPEG, each now and then."""
    out = photo * np.float32(rng.uniform(0.7, 1.3)) + np.float32(rng.uniform(-25, 25))
    if rng.random() < 0.3:
        mean = out.mean(dtype=np.float64)
        out = (out - np.float32(mean)) * np.float32(rng.uniform(0.6, 1.4)) + np.float32(mean)
    if rng.random() < 0.5:
        out = out * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.1:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 2.0))).astype(np.float32)
    if rng.random() < 0.15:
        out = out + rng.normal(0.0, rng.uniform(2.0, 15.0), out.shape).astype(np.float32)
    out = np.clip(out, 0.0, 255.0)
    if rng.random() < 0.15:
        out = _jpeg(out, quality=int(rng.integers(25, 85)))
    return out


def _jpeg(photo: Photo, *, quality: int) -> Photo:
    bgr = cv2.cvtColor(photo.astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # just encoded
    return decoded.astype(np.float32)


Affine = NDArray[np.floating[Any] | np.integer[Any]]  # [2, 3], source pixel to target pixel
SEAM = 0.7
"""Standard deviation in pixels of the blur of a pasted object's outline."""
STILL_VISIBLE = 0.4
"""Fraction of an object that an occluder leaves visible; no composite hides more."""


def random_affine(
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


def copy_paste(sample: Sample, ground: NDArray[np.uint8], rng: np.random.Generator) -> Sample:
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
