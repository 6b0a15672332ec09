"""Corrective clicks during training: placed on the errors the network makes right now."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataloaders.annotator import inside_point, next_click
from dataloaders.guidance import PixelXY, add_clicks


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
    masks = (logits[:, 0] > 0).numpy()
    for mask, truth, good, first in zip(
        masks, label[:, 0].numpy() > 0.5, valid[:, 0].numpy() > 0.5, maps.numpy(), strict=True
    ):
        inside, outside = _clicks(mask, truth, ~good, int(rng.integers(1, max_clicks + 1)), rng)
        out.append(torch.from_numpy(add_clicks(first, inside, outside, fwhm=fwhm)))
    return torch.stack(out)


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
