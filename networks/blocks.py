"""Small pieces every network here is built from.

No convolution has a bias (a BatchNorm always follows, or the published weights have none), and
every resize is bilinear with ``align_corners=True``: both are part of the IOG design (Zhang et
al., CVPR 2020) and of its published weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A point-wise convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A 3x3 convolution without bias, padded so that stride 1 keeps the size."""
    return nn.Conv2d(
        in_channels,
        out_channels,
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


def pool(x: Tensor, bins: Sequence[int]) -> list[Tensor]:
    """Average ``x`` [N, C, H, W] over grids: [N, C, b, b] for each b, as adaptive pooling does.

    All grids are one product with a matrix, because OpenVINO's adaptive pooling is slow.
    """
    # As a number it would fix the batch of an ONNX export; OpenVINO's has a batch of one.
    n = x.shape[0] if torch.compiler.is_exporting() else int(x.shape[0])
    channels, height, width = (int(length) for length in x.shape[1:])
    matrix = _cells(height, width, tuple(bins), x.dtype, x.device)
    cells = x.reshape(n, channels, height * width) @ matrix
    parts = torch.split(cells, [b * b for b in bins], dim=2)
    return [part.reshape(n, channels, b, b) for part, b in zip(parts, bins, strict=True)]


@cache
def _cells(
    height: int, width: int, bins: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """[height * width, sum of b * b]: how much each position is of each cell."""
    columns = []
    for b in bins:
        grid = np.einsum("yi,xj->yxij", _overlap(height, b), _overlap(width, b))
        columns.append(grid.reshape(height * width, b * b))
    return torch.from_numpy(np.concatenate(columns, axis=1)).to(device, dtype)


def _overlap(length: int, bins: int) -> NDArray[np.float64]:
    """[length, bins]: positions over the cell's length, from floor to ceiling of its ends."""
    matrix = np.zeros((length, bins))
    for i in range(bins):
        start, end = i * length // bins, -(-(i + 1) * length // bins)
        matrix[start:end, i] = 1 / (end - start)
    return matrix


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
