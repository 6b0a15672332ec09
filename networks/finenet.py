"""FineNet: every pyramid level refined, brought to one size and fused into the final mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import conv1x1, conv3x3, resize
from networks.coarsenet import Pyramid


class FineBottleneck(nn.Module):
    """A residual block that ends at ``outputs`` channels and always projects its shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        planes = outputs // 2
        self.conv1 = conv1x1(inputs, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(conv1x1(inputs, outputs), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class FineNet(nn.Module):
    """The fine half of the IOG decoder (IOG, section 3.3 and figure 4).

    Level i of the pyramid passes 3 - i residual blocks at its own size before all four are
    brought to the finest level's size, concatenated and turned into one logit map.

    Args:
        width: channels of every pyramid level.
    """

    def __init__(self, *, width: int = 256) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            nn.Sequential(*(FineBottleneck(width, width) for _ in range(3 - level)))
            for level in range(4)
        )
        self.final_predict = nn.Sequential(
            FineBottleneck(4 * width, width), conv3x3(width, 1), nn.BatchNorm2d(1)
        )

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Return logits [N, 1, S/4, S/4]."""
        size = (pyramid.maps[3].shape[-2], pyramid.maps[3].shape[-1])
        levels = [
            resize(blocks(level), size)
            for blocks, level in zip(self.cascade, pyramid.maps, strict=True)
        ]
        return self.final_predict(torch.cat(levels, dim=1))  # type: ignore[no-any-return]
