"""Convolutions in evaluation mode: two linear layers fused into one.

A BatchNorm with fixed statistics scales and shifts every channel, so it is fused into the
convolution before it. Two point-wise convolutions without a ReLU between them are one. Products are
taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["ConvParams", "compose_1x1", "conv_layer", "fuse_norm", "fused_layer", "split_kernel"]

ConvParams = tuple[Tensor, Tensor]
"""Weight [out_channels, in_channels / groups, kh, kw] and bias [out_channels], in float64."""


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
    params: ConvParams, *, like: nn.Conv2d | None = None, bias: bool = True
) -> nn.Conv2d:
    """A float32 layer with these parameters, without gradients.

    Args:
        params: weight and bias.
        like: gives stride, padding, dilation and groups; by default the layer is point-wise.
        bias: False drops the bias, for a term of a sum that another term's bias covers.
    """
    weight, shift = params
    out_channels, in_channels, *kernel = weight.shape
    groups = 1 if like is None else like.groups
    conv = nn.Conv2d(
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
    conv.weight = nn.Parameter(weight.float().contiguous(), requires_grad=False)
    if bias:
        conv.bias = nn.Parameter(shift.float().contiguous(), requires_grad=False)
    return conv


def fused_layer(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """The layer that computes ``conv`` and then ``norm``."""
    assert isinstance(conv, nn.Conv2d)
    return conv_layer(fuse_norm(conv, norm), like=conv)


def _blank(shape: Sequence[int]) -> Tensor:
    """For networks without values: the first sum of meta tensors imports for a second."""
    return torch.empty(tuple(shape), dtype=torch.float64, device="meta")
