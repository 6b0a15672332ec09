"""Depthwise convolutions learn in bf16 what they learn in float32."""

from __future__ import annotations

import pytest
import torch

from networks.depthwise import DepthwiseConv

CASES = [(5, 1, 2, 1), (5, 1, 4, 2), (5, 2, 0, 1), (3, 2, 0, 1), (3, 1, 1, 1)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CASES)
def test_gradients_under_autocast_are_those_of_float32(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(16, kernel, stride=stride, padding=padding, dilation=dilation)
    x = torch.randn(2, 16, 21, 21, requires_grad=True)
    plain = conv(x)
    wanted = torch.autograd.grad(plain.square().sum(), (x, conv.weight))
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x)
    assert found.dtype == torch.bfloat16
    got = torch.autograd.grad(found.float().square().sum(), (x, conv.weight))
    for a, b in zip(got, wanted, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.02


def test_kernels_that_do_not_learn_pass_the_gradient_on() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(8, 3, stride=2)
    conv.weight.requires_grad_(False)
    x = torch.randn(2, 8, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        conv(x).sum().backward()
    assert conv.weight.grad is None
    assert x.grad is not None
    assert x.grad.any()
