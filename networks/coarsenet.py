"""CoarseNet: a feature pyramid from deep to fine, each level with a side prediction."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import Resize, conv1x1, conv3x3, init_fan_out, resize


class Pyramid(NamedTuple):
    """CoarseNet's fused features, deepest first; ``maps[i]`` has ``width`` channels."""

    maps: tuple[Tensor, Tensor, Tensor, Tensor]  # at strides 16, 16, 8, 4


class CoarseNet(nn.Module):
    """The coarse half of the IOG decoder (IOG, section 3.3 and figure 4).

    ``upsamples[0]`` is never used: levels 0 and 1 have the same size. It exists because the
    published weights contain it.

    Args:
        inputs: channels of the four incoming features, deepest first.
        width: channels of every pyramid level.
    """

    def __init__(self, inputs: tuple[int, int, int, int], *, width: int = 256) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(conv1x1(channels, width), nn.BatchNorm2d(width), nn.ReLU())
            for channels in inputs
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
            deep: [N, inputs[0], S/16, S/16], the PSP's output.
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
