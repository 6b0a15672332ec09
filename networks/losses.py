"""Training losses. Logits, labels and void maps are float32 [N, 1, H, W]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def summed_bce(
    logits: Tensor, labels: Tensor, void: Tensor | None = None, *, size_average: bool = False
) -> Tensor:
    """The loss the published weights were trained with: BCE summed over pixels, not balanced.

    Args:
        logits: raw scores.
        labels: a pixel counts as object from 0.5 up.
        void: pixels over 0.5 carry no loss.
        size_average: divide by the number of elements instead of the batch size.

    Returns:
        A scalar: the sum divided by N, or by N * H * W.
    """
    weight = None if void is None else (void <= 0.5).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(
        logits, (labels >= 0.5).to(logits.dtype), weight=weight, reduction="sum"
    )
    return total / (logits.numel() if size_average else logits.shape[0])


def focal_bce(logits: Tensor, labels: Tensor, valid: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal BCE with its weights normalised per sample: hard pixels lead, whatever their number.

    Args:
        logits: raw scores.
        labels: 0..1, soft labels allowed.
        valid: 1 where the loss counts, 0 in void.
        gamma: how strongly pixels that are already right are ignored.

    Returns:
        A scalar: the mean over samples of the weighted mean over valid pixels.
    """
    bce = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    with torch.no_grad():
        error = (torch.sigmoid(logits) - labels).abs()
        weight = valid * error**gamma
        weight = weight / weight.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return (weight * bce).sum(dim=(1, 2, 3)).mean()


def soft_iou_loss(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """One minus the soft intersection over union, averaged over the batch: a scalar in 0..1."""
    p = torch.sigmoid(logits) * valid
    t = labels * valid
    intersection = (p * t).sum(dim=(1, 2, 3))
    union = (p + t - p * t).sum(dim=(1, 2, 3))
    return (1.0 - (intersection + 1.0) / (union + 1.0)).mean()
