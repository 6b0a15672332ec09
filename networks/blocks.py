"""Small pieces every network here is built from.

No convolution has a bias (a BatchNorm always follows, or the published weights have none), and
every resize is bilinear with ``align_corners=True``: both are part of the IOG design (Zhang et
al., CVPR 2020) and of its published weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    """A point-wise convolution without bias."""
    return nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)


def conv3x3(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias, padded so that stride 1 keeps the size."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel_size=3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        bias=False,
    )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` [N, C, H, W] bilinearly to ``size`` (H, W); corners stay on corners."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class Resize(nn.Module):
    """Bilinear resize by a factor, as a layer (it has no parameters)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` [N, C, H, W] as [N, C, factor * H, factor * W]."""
        return resize(x, (x.shape[-2] * self.factor, x.shape[-1] * self.factor))


def init_fan_out(module: nn.Module) -> None:
    """Initialise every convolution in ``module`` with N(0, sqrt(2 / (kh * kw * C_out)))."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            kh, kw = layer.kernel_size
            fan_out = kh * kw * layer.out_channels // layer.groups
            with torch.no_grad():
                layer.weight.normal_(0.0, math.sqrt(2.0 / fan_out))
