"""A fused layer computes padding, convolution, BatchNorm and activation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from networks import fusing
from networks.fusing import Activation, FusedConv, fused_layer

ACTIVATIONS: dict[Activation, nn.Module] = {
    "none": nn.Identity(),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Sequential, FusedConv]:
    """The parts one after the other, and the layer that they are fused into."""
    kernel, stride = draw(st.sampled_from((1, 3, 5))), draw(st.sampled_from((1, 2)))
    groups = draw(st.sampled_from((1, 4)))
    before = draw(st.integers(0, 2))
    uneven = draw(st.booleans())
    dilation = 1 if uneven else draw(st.sampled_from((1, 2)))
    activation = draw(st.sampled_from(tuple(ACTIVATIONS)))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    pad = nn.ZeroPad2d((before, before + uneven) * 2)
    conv = nn.Conv2d(4, 8, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)
    norm = nn.BatchNorm2d(8)
    for statistic in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert statistic is not None
        nn.init.uniform_(statistic, 0.5, 1.5)
    parts = nn.Sequential(pad, conv, norm, ACTIVATIONS[activation]).eval()
    return parts, fused_layer(conv, norm, activation, pad=pad)


def given_x(batch: int, size: tuple[int, int]) -> Tensor:
    return 10 * torch.randn(batch, 4, *size)  # beyond ReLU6's limit


@settings(max_examples=60, deadline=None)
@given(
    made=layers(),
    batch=st.integers(1, 2),
    size=st.tuples(st.integers(9, 14), st.integers(9, 14)),
    channels_last=st.booleans(),
)
def test_it_is_its_parts(
    made: tuple[nn.Sequential, FusedConv], batch: int, size: tuple[int, int], channels_last: bool
) -> None:
    parts, layer = made
    x = given_x(batch, size)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = parts(x)
        for dtype in (torch.float32, torch.float64):  # oneDNN's call does not know the second
            found = layer.to(dtype)(x.to(dtype))
            torch.testing.assert_close(found.float(), wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(made=layers())
def test_without_onednn_it_is_the_same(made: tuple[nn.Sequential, FusedConv]) -> None:
    _, layer = made
    x = given_x(1, (12, 10))
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        wanted = layer(x)
        patch.setattr(fusing, "_ONEDNN_CONV", None)
        torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)
