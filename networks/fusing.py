"""Convolutions for predicting: what comes before or after them, fused into them.

A BatchNorm with fixed statistics scales and shifts every channel, so it is fused into the
convolution before it. Two point-wise convolutions without a ReLU between them are one. Products are
taken in float64 and rounded once. Padding and activation become part of the convolution's call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

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
_ONEDNN = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}
"""Activations as oneDNN's call names them, with their limits."""


class FusedConv(nn.Conv2d):
    """A convolution and the activation after it.

    On the CPU they are one call of oneDNN, which spares a pass over the result. ``F.conv2d`` also
    leaves point-wise convolutions to slower code where torch has one thread.
    """

    activation: Activation = "none"

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H', W']."""
        if x.device.type != "cpu" or not _has_onednn() or _is_exporting():
            return activate(super().forward(x), self.activation)
        attribute, limits = _ONEDNN[self.activation]
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x,
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            attribute,
            limits,
            "",
        )
        return found


def activate(x: Tensor, activation: Activation) -> Tensor:
    """``x`` after the activation, in place."""
    if activation == "none":
        return x
    return F.relu_(x) if activation == "relu" else F.relu6(x, inplace=True)


@cache
def _has_onednn() -> bool:
    return hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _is_exporting() -> bool:
    """Whether an exporter looks on, which knows torch's own operations only."""
    return torch.compiler.is_exporting() or torch._C._is_tracing()


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
    bias: bool = True,
    activation: Activation = "none",
) -> FusedConv:
    """A float32 layer with these parameters, without gradients.

    Args:
        params: weight and bias.
        like: gives stride, padding, dilation and groups; by default the layer is point-wise.
        bias: False drops the bias, for a term of a sum that another term's bias covers.
        activation: comes after the convolution.
    """
    weight, shift = params
    out_channels, in_channels, *kernel = weight.shape
    groups = 1 if like is None else like.groups
    conv = FusedConv(
        in_channels * groups,
        out_channels,
        (kernel[0], kernel[1]),
        stride=1 if like is None else (like.stride[0], like.stride[1]),
        padding=0 if like is None or isinstance(like.padding, str) else like.padding,  # type: ignore[arg-type]
        dilation=1 if like is None else (like.dilation[0], like.dilation[1]),
        groups=groups,
        bias=bias,
        device="meta",
    )
    conv.activation = activation
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

    A convolution pads both ends alike. Where ``pad`` has one zero less at the left and the top, the
    kernel gets a column and a row of zeros there.

    Args:
        conv: without padding of its own where ``pad`` is a ``ZeroPad2d``.
        norm: a BatchNorm.
        activation: comes last.
        pad: any other module stands for no padding.
    """
    assert isinstance(conv, nn.Conv2d)
    params = fuse_norm(conv, norm)
    if not isinstance(pad, nn.ZeroPad2d):
        return conv_layer(params, like=conv, activation=activation)
    before, after, *rows = pad.padding
    assert rows == [before, after]
    assert after - before in (0, 1)
    layer = conv_layer(
        params if before == after else _grown(params), like=conv, activation=activation
    )
    layer.padding = (after, after)
    return layer


def _grown(params: ConvParams) -> ConvParams:
    """The same kernel with a row and a column of zeros at its start."""
    weight, bias = params
    if weight.is_meta:
        return _blank((*weight.shape[:2], weight.shape[2] + 1, weight.shape[3] + 1)), bias
    return F.pad(weight, (1, 0, 1, 0)), bias


def _blank(shape: Sequence[int]) -> Tensor:
    """For networks without values: the first sum of meta tensors imports for a second."""
    return torch.empty(tuple(shape), dtype=torch.float64, device="meta")
