"""Backbones: an image with its guidance maps in, features at strides 4, 8, 16 and 16 out.

All start from weights trained on ImageNet: three colour channels, widened by two channels of
zeros for the inside and outside guidance maps (IOG, section 3.3).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import conv1x1, conv3x3, init_fan_out
from networks.depthwise import DepthwiseConv

GUIDED_CHANNELS = 5
"""R, G, B, inside map, outside map."""


class Features(NamedTuple):
    """What a backbone returns for an input of S x S pixels, finest first."""

    stride4: Tensor  # [N, C1, S/4, S/4]
    stride8: Tensor  # [N, C2, S/8, S/8]
    stride16: Tensor  # [N, C3, S/16, S/16]
    deep: Tensor  # [N, C4, S/16, S/16], widest receptive field


class Bottleneck(nn.Module):
    """ResNet's 1x1 - 3x3 - 1x1 residual block; the stride sits on the 3x3 convolution."""

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, *, stride: int, dilation: int, project: bool
    ) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = conv1x1(in_channels, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv1x1(planes, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        out = self.activation(self.bn1(self.conv1(x)))
        out = self.activation(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu_(out.add_(shortcut))  # a sum's: no convolution could take it over


class ResNet101(nn.Module):
    """ResNet-101 at output stride 16, last stage dilated 2, 4, 8 (IOG, section 4.1).

    Input: float32 [N, 5, S, S], R, G, B and both guidance maps in 0..255, not normalised.

    Args:
        width: channels of the first convolution, from which all others follow; 64 is published.
    """

    full_precision: ClassVar[tuple[str, ...]] = ()
    """First layers that stay in float32 where the others run in 16 bits; the last one is an
    ``nn.Sequential``."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.channels = (4 * width, 8 * width, 16 * width, 32 * width)
        stride4, stride8, stride16, _ = self.channels
        self.conv1 = nn.Conv2d(GUIDED_CHANNELS, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = nn.ReLU(inplace=True)
        self.layer1 = _resnet_stage(width, width, stride=1, dilations=(1,) * 3)
        self.layer2 = _resnet_stage(stride4, 2 * width, stride=2, dilations=(1,) * 4)
        self.layer3 = _resnet_stage(stride8, 4 * width, stride=2, dilations=(1,) * 23)
        self.layer4 = _resnet_stage(stride16, 8 * width, stride=1, dilations=(2, 4, 8))
        init_fan_out(self)

    def forward(self, x: Tensor) -> Features:
        """Return the features of ``x`` (see the class)."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        stride4 = self.layer1(x)
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        return Features(stride4, stride8, stride16, self.layer4(stride16))


def _resnet_stage(
    in_channels: int, planes: int, *, stride: int, dilations: tuple[int, ...]
) -> nn.Sequential:
    blocks = [Bottleneck(in_channels, planes, stride=stride, dilation=dilations[0], project=True)]
    width = planes * Bottleneck.expansion
    blocks += [
        Bottleneck(width, planes, stride=1, dilation=d, project=False) for d in dilations[1:]
    ]
    return nn.Sequential(*blocks)


class SeparableConv(nn.Module):
    """MobileNet's depthwise 3x3 and pointwise 1x1 convolutions, each with BatchNorm and ReLU6.

    Stride 2 pads only right and bottom, as the ImageNet weights were trained.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else (dilation,) * 4)
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            3,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.bn1 = nn.BatchNorm2d(in_channels, eps=1e-3)
        self.pointwise = conv1x1(in_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H / stride, W / stride]."""
        x = self.activation(self.bn1(self.depthwise(self.pad(x))))
        return self.activation(self.bn2(self.pointwise(x)))  # type: ignore[no-any-return]


class MobileNetV1(nn.Module):
    """MobileNetV1 1.0 up to its twelfth block, at output stride 16, the last block dilated 2.

    Input as for ``ResNet101``; colours are mapped to -1..1 and guidance to 0..1 inside, so that
    every network here takes the same 0..255 input.

    Args:
        width: channels of the first convolution, from which all others follow; 32 is "1.0".
    """

    # Channels of one depthwise convolution differ widely in scale, most in the first ones.
    full_precision: ClassVar[tuple[str, ...]] = ("conv1", "layer1")
    """As ``ResNet101.full_precision``."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.channels = (4 * width, 8 * width, 16 * width, 32 * width)
        stride4, stride8, stride16, deep = self.channels
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.conv1 = nn.Conv2d(GUIDED_CHANNELS, width, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True)
        self.layer1 = nn.Sequential(
            SeparableConv(width, 2 * width),
            SeparableConv(2 * width, stride4, stride=2),
            SeparableConv(stride4, stride4),
        )
        self.layer2 = nn.Sequential(
            SeparableConv(stride4, stride8, stride=2), SeparableConv(stride8, stride8)
        )
        self.layer3 = nn.Sequential(
            SeparableConv(stride8, stride16, stride=2),
            *(SeparableConv(stride16, stride16) for _ in range(5)),
        )
        self.layer4 = SeparableConv(stride16, deep, dilation=2)
        init_fan_out(self)

    def forward(self, x: Tensor) -> Features:
        """Return the features of ``x`` [N, 5, S, S], S a multiple of 16."""
        x = torch.cat([x[:, :3] / 127.5 - 1.0, x[:, 3:] / 255.0], dim=1)
        x = self.activation(self.bn1(self.conv1(self.pad(x))))
        stride4 = self.layer1(x)
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        return Features(stride4, stride8, stride16, self.layer4(stride16))


class InvertedBottleneck(nn.Module):
    """EfficientNet's block: widen 1x1, depthwise, narrow 1x1 without activation, shortcut.

    Each convolution has a BatchNorm; there is a shortcut where input and output have one shape.
    Stride 2 pads one more on the right and at the bottom, as the ImageNet weights were trained.

    Args:
        in_channels: of the input.
        out_channels: of the result.
        expansion: channels between, per input channel; 1 leaves the widening out.
        kernel: of the depthwise convolution, 3 or 5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int = 6,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        planes = expansion * in_channels
        self.shortcut = stride == 1 and in_channels == out_channels
        self.expand: nn.Conv2d | None = None
        if expansion != 1:
            self.expand = conv1x1(in_channels, planes)
            self.bn0 = nn.BatchNorm2d(planes, eps=1e-3)
        reach = kernel // 2
        self.pad = nn.ZeroPad2d((reach - 1, reach) * 2) if stride == 2 else nn.Identity()
        self.depthwise = DepthwiseConv(
            planes,
            kernel,
            stride=stride,
            padding=0 if stride == 2 else dilation * reach,
            dilation=dilation,
        )
        self.bn1 = nn.BatchNorm2d(planes, eps=1e-3)
        self.project = conv1x1(planes, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H / stride, W / stride]."""
        out = x if self.expand is None else self.activation(self.bn0(self.expand(x)))
        out = self.activation(self.bn1(self.depthwise(self.pad(out))))
        out = self.bn2(self.project(out))
        return x + out if self.shortcut else out  # type: ignore[no-any-return]


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 up to its seventeenth block, at output stride 16.

    The last two blocks are ImageNet's first two at stride 32. Here the first of them has no
    stride, and the second is dilated 2 instead. Input as for ``MobileNetV1``.

    Args:
        width: channels of the first convolution, from which all others follow; 32 is published.
    """

    full_precision: ClassVar[tuple[str, ...]] = ("conv1", "layer1")
    """As ``ResNet101.full_precision``."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        first, stride4, stride8, middle, stride16, deep = (
            max(1, channels * width // 32) for channels in (16, 24, 48, 88, 120, 208)
        )
        self.channels = (stride4, stride8, stride16, deep)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.conv1 = nn.Conv2d(GUIDED_CHANNELS, width, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True)
        self.layer1 = nn.Sequential(
            InvertedBottleneck(width, first, expansion=1),
            InvertedBottleneck(first, stride4, stride=2),
            *(InvertedBottleneck(stride4, stride4) for _ in range(2)),
        )
        self.layer2 = nn.Sequential(
            InvertedBottleneck(stride4, stride8, kernel=5, stride=2),
            *(InvertedBottleneck(stride8, stride8, kernel=5) for _ in range(2)),
        )
        self.layer3 = nn.Sequential(
            InvertedBottleneck(stride8, middle, stride=2),
            *(InvertedBottleneck(middle, middle) for _ in range(3)),
            InvertedBottleneck(middle, stride16, kernel=5),
            *(InvertedBottleneck(stride16, stride16, kernel=5) for _ in range(3)),
        )
        self.layer4 = nn.Sequential(
            InvertedBottleneck(stride16, deep, kernel=5),
            InvertedBottleneck(deep, deep, kernel=5, dilation=2),
        )
        init_fan_out(self)

    def forward(self, x: Tensor) -> Features:
        """Return the features of ``x`` [N, 5, S, S], S a multiple of 16."""
        x = torch.cat([(x[:, :3] - 127.0) / 128.0, x[:, 3:] / 255.0], dim=1)
        x = self.activation(self.bn1(self.conv1(self.pad(x))))
        stride4 = self.layer1(x)
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        return Features(stride4, stride8, stride16, self.layer4(stride16))


Backbone = ResNet101 | MobileNetV1 | EfficientNetLite2
