"""The parts of both networks after the backbone: PSP, CoarseNet and FineNet (IOG, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import Resize, conv1x1, conv3x3, init_fan_out, resize

BINS = (1, 2, 3, 6)
"""Cells along each side of the four grids that PSP pools over."""


class PSP(nn.Module):
    """Pyramid pooling over 1x1, 2x2, 3x3 and 6x6 bins, then a fusing 1x1 convolution.

    Args:
        in_channels: channels of the incoming features.
        out_channels: channels of the result.
        stage_width: channels of each pooled branch; by default a quarter of ``in_channels``, as
            in the published networks.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stage_width: int | None = None
    ) -> None:
        super().__init__()
        width = in_channels // len(BINS) if stage_width is None else stage_width
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins),
                conv1x1(in_channels, width),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for bins in BINS
        )
        self.bottleneck = nn.Sequential(
            conv1x1(width * len(BINS) + in_channels, out_channels), nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H, W]."""
        height, width = x.shape[-2:]
        pooled = [resize(stage(x), (height, width)) for stage in self.stages]
        return F.relu(self.bottleneck(torch.cat([*pooled, x], dim=1)))


class Pyramid(NamedTuple):
    """CoarseNet's fused features, deepest first; ``maps[i]`` has ``width`` channels."""

    maps: tuple[Tensor, Tensor, Tensor, Tensor]  # at strides 16, 16, 8, 4


class CoarseNet(nn.Module):
    """The coarse half of the IOG decoder (IOG, section 3.3 and figure 4).

    ``upsamples[0]`` is never used: levels 0 and 1 have the same size. It exists because the
    published weights contain it.

    Args:
        in_channels: channels of the four incoming features, deepest first.
        width: channels of every pyramid level.
    """

    def __init__(self, in_channels: tuple[int, int, int, int], *, width: int = 256) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(conv1x1(channels, width), nn.BatchNorm2d(width), nn.ReLU())
            for channels in in_channels
        )
        self.upsamples = nn.ModuleList(
            nn.Sequential(Resize(2), conv1x1(width, width), nn.BatchNorm2d(width)) for _ in range(3)
        )
        self.predict = nn.ModuleList(_SideHead(width) for _ in range(4))
        init_fan_out(self)

    def fuse(
        self,
        deep: Tensor,
        stride16: Tensor,
        stride8: Tensor,
        stride4: Tensor,
        *,
        click_skips: tuple[Tensor, Tensor] | None = None,
    ) -> Pyramid:
        """Merge features into a pyramid.

        Args:
            deep: [N, in_channels[0], S/16, S/16], the PSP's output.
            stride16, stride8, stride4: the backbone's features, S/16, S/8 and S/4 pixels wide.
            click_skips: optional [N, width, S/8, S/8] and [N, width, S/4, S/4] added to the two
                finer levels.
        """
        level0 = self.laterals[0](deep)
        level1 = self.laterals[1](stride16) + level0
        level2 = self.laterals[2](stride8) + self.upsamples[1](level1)
        if click_skips is not None:
            level2 = level2 + click_skips[0]
        level3 = self.laterals[3](stride4) + self.upsamples[2](level2)
        if click_skips is not None:
            level3 = level3 + click_skips[1]
        return Pyramid((level0, level1, level2, level3))

    def forward(self, pyramid: Pyramid) -> list[Tensor]:
        """Return the four side predictions: logits [N, 1, S/4, S/4], deepest first."""
        size = (pyramid.maps[3].shape[-2], pyramid.maps[3].shape[-1])
        return [head(m, size) for head, m in zip(self.predict, pyramid.maps, strict=True)]


class _SideHead(nn.Sequential):
    """conv1x1, BN, ReLU, conv3x3 to one channel, resize, BN.

    The resize comes before the last BatchNorm: in training its statistics are those of the
    resized map. Index 4, the resize, has no parameters; the BatchNorm keeps index 5.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_module("0", conv1x1(width, width))
        self.add_module("1", nn.BatchNorm2d(width))
        self.add_module("3", conv3x3(width, 1))
        self.add_module("5", nn.BatchNorm2d(1))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        conv, norm, predict, norm_out = self.children()
        return norm_out(resize(predict(F.relu(norm(conv(x)))), size))  # type: ignore[no-any-return]


class FineBottleneck(nn.Module):
    """A residual block to ``out_channels`` channels that always projects its shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        planes = out_channels // 2
        self.conv1 = conv1x1(in_channels, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential(
            conv1x1(in_channels, out_channels), nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H, W]."""
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
