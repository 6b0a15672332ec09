"""Pyramid scene parsing: the deepest features with context pooled over four grids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import conv1x1, resize

BINS = (1, 2, 3, 6)


class PSP(nn.Module):
    """Pyramid pooling over 1x1, 2x2, 3x3 and 6x6 bins, then a fusing 1x1 convolution.

    Args:
        inputs: channels of the incoming features.
        outputs: channels of the result.
        stage_width: channels of each pooled branch; a quarter of ``inputs`` when left out, as in
            the published networks.
    """

    def __init__(self, inputs: int, outputs: int, *, stage_width: int | None = None) -> None:
        super().__init__()
        width = inputs // len(BINS) if stage_width is None else stage_width
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins), conv1x1(inputs, width), nn.BatchNorm2d(width), nn.ReLU()
            )
            for bins in BINS
        )
        self.bottleneck = nn.Sequential(
            conv1x1(width * len(BINS) + inputs, outputs), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        height, width = x.shape[-2:]
        pooled = [resize(stage(x), (height, width)) for stage in self.stages]
        return F.relu(self.bottleneck(torch.cat([*pooled, x], dim=1)))
