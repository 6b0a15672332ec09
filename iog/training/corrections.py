"""Corrective clicks during training: placed on the errors the network makes right now."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataloaders.annotator import inside_point, next_click
from dataloaders.guidance import PixelXY, add_clicks, most_interior_point
from iog.training.config import Upstream
from iog.training.dataset import Example


def corrected_clicks(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    maps: Tensor,
    *,
    fwhm: float,
    max_clicks: int,
    rng: np.random.Generator,
) -> Tensor:
    """Guidance maps for the click branch after one to ``max_clicks`` corrections per sample.

    The first correction goes to the centre of the largest error; the others anywhere well inside
    the remaining ones, as people click.

    Args:
        logits: [N, 1, S, S], the prediction to correct.
        label, valid: float32 [N, 1, S, S], 0 or 1.
        maps: float32 [N, 2, S, S] in 0..255, the first guidance maps.

    Returns:
        float32 [N, 2, S, S] in 0..255.
    """
    out = []
    for mask, truth, good, first in zip(
        _bools(logits, above=0.0),
        _bools(label, above=0.5),
        _bools(valid, above=0.5),
        maps.cpu().numpy(),
        strict=True,
    ):
        inside, outside = _clicks(mask, truth, ~good, int(rng.integers(1, max_clicks + 1)), rng)
        out.append(torch.from_numpy(add_clicks(first, inside, outside, fwhm=fwhm)))
    return torch.stack(out).to(maps.device)


def upstream_click(
    logits: Tensor, example: Example, maps: Tensor, *, fwhm: float, slips: Upstream
) -> Tensor:
    """Guidance maps after one correction per sample, as the published refinement was trained.

    Args:
        logits: [N, 1, S, S], the prediction to correct.
        example: the batch.
        maps: float32 [N, 2, S, S] in 0..255, the first guidance maps.
        fwhm: width of a guidance peak at half its height.
        slips: which of the official code's slips to repeat.

    Returns:
        float32 [N, 2, S, S] in 0..255.
    """
    out = []
    for mask, truth, good, first in zip(
        _bools(logits, above=0.0),
        _bools(example.label, above=0.5),
        _bools(example.valid, above=0.5),
        maps.cpu().numpy(),
        strict=True,
    ):
        found = _upstream_point((mask != truth) & good, slips)
        clicks: tuple[list[PixelXY], list[PixelXY]] = ([], [])
        if found is not None:
            x, y = found
            row, column = (x, y) if slips.transposed_polarity else (y, x)
            clicks[0 if truth[row, column] else 1].append(found)
        out.append(torch.from_numpy(add_clicks(first, *clicks, fwhm=fwhm)))
    return torch.stack(out).to(maps.device)


def _upstream_point(error: NDArray[np.bool_], slips: Upstream) -> PixelXY | None:
    if not error.any():
        return (0, 0) if slips.click_at_origin else None
    if not slips.unpadded_distance:
        return most_interior_point(error)
    if error.all():
        return 0, 0
    depth = cv2.distanceTransform(error.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(column), int(row)


def _bools(maps: Tensor, *, above: float) -> NDArray[np.bool_]:
    return (maps[:, 0] > above).cpu().numpy()


def _clicks(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    void: NDArray[np.bool_],
    count: int,
    rng: np.random.Generator,
) -> tuple[list[PixelXY], list[PixelXY]]:
    clicks: tuple[list[PixelXY], list[PixelXY]] = ([], [])
    worst = next_click(mask, truth, void)
    if worst is None:
        return clicks
    clicks[0 if worst.positive else 1].append(worst.xy)
    error = (mask != truth) & ~void
    for _ in range(count - 1):
        xy = inside_point(error, rng, depth=0.5)
        assert xy is not None
        clicks[0 if truth[xy[1], xy[0]] else 1].append(xy)
        error = _without(error, xy)
        if not error.any():
            break
    return clicks


def _without(error: NDArray[np.bool_], xy: PixelXY) -> NDArray[np.bool_]:
    """The error with the neighbourhood of a click taken out."""
    left = error.copy()
    reach = max(error.shape) // 16
    x, y = xy
    left[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = False
    return left
