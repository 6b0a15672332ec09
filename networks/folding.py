"""Algebra of convolutions in evaluation mode: what two linear layers do, done by one.

BatchNorm with fixed statistics multiplies and shifts every channel, so it folds into the weights
before it; two point-wise convolutions without a ReLU between them are one. Products are taken in
float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Linear", "fold", "folded", "layer", "taps", "then"]

Linear = tuple[Tensor, Tensor]
"""Weight [outputs, inputs / groups, kh, kw] and bias [outputs] of a convolution, in float64."""


def folded(conv: nn.Module, norm: nn.Module) -> Linear:
    """Weight and bias of a bias-free convolution followed by a BatchNorm in evaluation mode.

    The convolution's weight is multiplied by ``gamma / sqrt(variance + eps)`` for each output
    channel; the bias is ``beta - gamma * mean / sqrt(variance + eps)``.
    """
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert conv.bias is None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if conv.weight.is_meta:
        return _blank(conv.weight.shape), _blank(norm.bias.shape)
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    return conv.weight.detach().double() * scale[:, None, None, None], shift


def then(first: Linear, second: Tensor) -> Linear:
    """One convolution for ``first`` and then the point-wise weight ``second`` [o, m, 1, 1]."""
    weight, bias = first
    if weight.is_meta:
        return _blank((len(second), *weight.shape[1:])), _blank(second.shape[:1])
    matrix = second[:, :, 0, 0]
    return torch.einsum("om,mikl->oikl", matrix, weight), matrix @ bias


def taps(linear: Linear) -> tuple[Linear, Linear]:
    """A 3x3 convolution to one channel [1, c, 3, 3] as two: one for each tap, and their sum.

    The first is point-wise, to nine channels and without bias; the second is 3x3 again and shifts
    each channel to where its tap belongs.
    """
    weight, bias = linear
    if weight.is_meta:
        return (_blank((9, weight.shape[1], 1, 1)), _blank((9,))), (_blank((1, 9, 3, 3)), bias)
    each = weight[0].permute(1, 2, 0).reshape(9, -1)[:, :, None, None]
    shifts = torch.eye(9, dtype=weight.dtype, device=weight.device).reshape(1, 9, 3, 3)
    return (each, torch.zeros_like(shifts[0, :, 0, 0])), (shifts, bias)


def layer(linear: Linear, *, like: nn.Conv2d | None = None, bias: bool = True) -> nn.Conv2d:
    """A float32 layer that computes ``linear``.

    Args:
        linear: weight and bias.
        like: gives stride, padding, dilation and groups; point-wise when left out.
        bias: False leaves the bias away, for a term of a sum whose bias is elsewhere.
    """
    weight, shift = linear
    outputs, inputs, *kernel = weight.shape
    groups = 1 if like is None else like.groups
    conv = nn.Conv2d(
        inputs * groups,
        outputs,
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


def fold(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """The layer that does what ``conv`` and then ``norm`` do."""
    assert isinstance(conv, nn.Conv2d)
    return layer(folded(conv, norm), like=conv)


def _blank(shape: Sequence[int]) -> Tensor:
    """Where only the shapes are wanted; any arithmetic there takes a second to import first."""
    return torch.empty(tuple(shape), dtype=torch.float64, device="meta")
