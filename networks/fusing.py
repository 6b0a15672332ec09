"""Convolutions for predicting: what comes before or after them, fused into them.

A BatchNorm with fixed statistics scales and shifts every channel, so it is fused into the
convolution before it. Two point-wise convolutions without a ReLU between them are one. Products are
taken in float64 and rounded once. Padding and activation become part of the convolution's call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = [
    "Activation",
    "ConvParams",
    "FusedConv",
    "activate",
    "compose_1x1",
    "conv_layer",
    "fuse_norm",
    "fused_layer",
    "split_kernel",
]

ConvParams = tuple[Tensor, Tensor]
"""Weight [out_channels, in_channels / groups, kh, kw] and bias [out_channels], in float64."""
Activation = Literal["none", "relu", "relu6"]
_ONEDNN_CONV: Final = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_ONEDNN_NAMES: Final[dict[Activation, tuple[str, list[float]]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
"""Activations as oneDNN's call names them, with their limits."""


class FusedConv(nn.Conv2d):
    """A convolution and the activation after it, without gradients.

    On the CPU they are one call of oneDNN, which spares a pass over the result. ``F.conv2d`` also
    leaves point-wise convolutions to slower code where torch has one thread.

    Args:
        in_channels, out_channels, kernel, stride, padding, dilation, groups, bias, device: as of
            ``nn.Conv2d``.
        uneven: pads one zero more at the right and the bottom; not with a dilation.
        activation: comes after the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
        uneven: bool = False,
        activation: Activation = "none",
        device: str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            device=device,
        )
        assert not uneven or self.dilation == (1, 1)
        self.pads = padding
        self.uneven = uneven
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H', W']."""
        if not _runs_onednn(x):
            x = F.pad(x, (0, 1, 0, 1)) if self.uneven else x
            return activate(super().forward(x), self.activation)
        weight, pads = self.weight, self.pads
        if self.uneven:  # oneDNN's call pads all sides alike: a kernel with zeros first starts late
            weight, pads = F.pad(weight, (1, 0, 1, 0)), (pads[0] + 1, pads[1] + 1)
        name, limits = _ONEDNN_NAMES[self.activation]
        assert _ONEDNN_CONV is not None
        found: Tensor = _ONEDNN_CONV(
            x, weight, self.bias, pads, self.stride, self.dilation, self.groups, name, limits, ""
        )
        return found


def activate(x: Tensor, activation: Activation) -> Tensor:
    """``x`` after the activation, in place."""
    if activation == "none":
        return x
    return F.relu_(x) if activation == "relu" else F.relu6(x, inplace=True)


def _runs_onednn(x: Tensor) -> bool:
    """Whether oneDNN's call takes ``x``. No exporter knows it."""
    return (
        _ONEDNN_CONV is not None
        and x.device.type == "cpu"
        and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and _has_bf16()))
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


@cache
def _has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fuse_norm(conv: nn.Module, norm: nn.Module) -> ConvParams:
    """Weight and bias of a bias-free convolution followed by a BatchNorm in evaluation mode."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if conv.weight.is_meta:
        return _blank(conv.weight.shape), _blank(norm.bias.shape)
    weight, mean, var, gamma, beta = (
        tensor.detach().double()
        for tensor in (conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    fused = fuse_conv_bn_weights(weight, None, mean, var, norm.eps, gamma, beta)
    return fused[0].detach(), fused[1].detach()


def compose_1x1(first: ConvParams, second: Tensor) -> ConvParams:
    """One convolution for ``first`` and then the point-wise weight ``second`` [o, m, 1, 1]."""
    weight, bias = first
    if weight.is_meta:
        return _blank((len(second), *weight.shape[1:])), _blank(second.shape[:1])
    matrix = second[:, :, 0, 0]
    return torch.einsum("om,mikl->oikl", matrix, weight), matrix @ bias


def split_kernel(params: ConvParams) -> tuple[ConvParams, ConvParams]:
    """A 3x3 convolution to one channel [1, c, 3, 3] as two: one channel a tap, and their sum.

    The first is point-wise, to nine channels and without bias. The second is 3x3 and shifts each
    channel to where its tap belongs.
    """
    weight, bias = params
    if weight.is_meta:
        return (_blank((9, weight.shape[1], 1, 1)), _blank((9,))), (_blank((1, 9, 3, 3)), bias)
    taps = weight[0].permute(1, 2, 0).reshape(9, -1)[:, :, None, None]
    shifts = torch.eye(9, dtype=weight.dtype, device=weight.device).reshape(1, 9, 3, 3)
    return (taps, torch.zeros_like(shifts[0, :, 0, 0])), (shifts, bias)


def conv_layer(
    params: ConvParams,
    *,
    like: nn.Conv2d | None = None,
    pad: nn.Module | None = None,
    bias: bool = True,
    activation: Activation = "none",
) -> FusedConv:
    """A float32 layer with these parameters, without gradients.

    Args:
        params: weight and bias.
        like: gives stride, padding, dilation and groups; by default the layer is point-wise.
        pad: a ``ZeroPad2d`` that comes before it: with as many zeros on all sides, or one more at
            the right and the bottom. Any other module leaves the padding to ``like``.
        bias: False drops the bias, for a term of a sum that another term's bias covers.
        activation: comes after the convolution.
    """
    weight, shift = params
    out_channels, in_channels, *kernel = weight.shape
    like = nn.Conv2d(1, 1, 1, device="meta") if like is None else like
    assert not isinstance(like.padding, str)
    before, after = like.padding[0], like.padding[0]
    if isinstance(pad, nn.ZeroPad2d):
        assert like.padding == (0, 0)
        before, after, *rows = pad.padding
        assert rows == [before, after]
        assert after - before in (0, 1)
    conv = FusedConv(
        in_channels * like.groups,
        out_channels,
        (kernel[0], kernel[1]),
        stride=(like.stride[0], like.stride[1]),
        padding=(before, before),
        dilation=(like.dilation[0], like.dilation[1]),
        groups=like.groups,
        bias=bias,
        uneven=after > before,
        activation=activation,
        device="meta",
    )
    conv.weight = nn.Parameter(weight.float().contiguous(), requires_grad=False)
    if bias:
        conv.bias = nn.Parameter(shift.float().contiguous(), requires_grad=False)
    return conv


def fused_layer(
    conv: nn.Module,
    norm: nn.Module,
    activation: Activation = "none",
    *,
    pad: nn.Module | None = None,
) -> FusedConv:
    """The layer that computes ``pad``, ``conv``, ``norm`` and the activation.

    For the arguments see ``conv_layer``.
    """
    assert isinstance(conv, nn.Conv2d)
    return conv_layer(fuse_norm(conv, norm), like=conv, pad=pad, activation=activation)


def _blank(shape: Sequence[int]) -> Tensor:
    """For networks without values: the first sum of meta tensors imports for a second."""
    return torch.empty(tuple(shape), dtype=torch.float64, device="meta")
