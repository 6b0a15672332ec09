"""Winograd's convolutions compute what torch's do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import build_network
from networks.fused import fuse
from networks.fusing import Activation, FusedConv
from networks.winograd import WinogradConv, with_winograd


@settings(max_examples=30, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    tiles=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.sampled_from((1, 2, 4)),
    activation=st.sampled_from(("none", "relu", "relu6")),
    scale=st.sampled_from((1, 20)),  # the second goes beyond ReLU6's limit
    seed=st.integers(0, 2**16),
)
def test_it_is_the_convolution(
    channels: tuple[int, int],
    tiles: tuple[int, int],
    dilation: int,
    activation: Activation,
    scale: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    around = (dilation, dilation)
    conv = FusedConv(*channels, (3, 3), padding=around, dilation=around, activation=activation)
    size = (4 * dilation * tiles[0], 4 * dilation * tiles[1])
    x = scale * torch.randn(1, channels[0], *size)
    with torch.inference_mode():
        wanted, found = conv(x), WinogradConv(conv, size)(x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=scale * 1e-4)


def test_a_network_with_it_answers_the_same() -> None:
    torch.manual_seed(0)
    fused = fuse(build_network("iog-resnet101-refinement").eval())
    side = 128
    quick = with_winograd(fused, side)
    assert quick is not None
    replaced = {name for name, m in quick.named_modules() if isinstance(m, WinogradConv)}
    # 23 blocks but the first, which has a stride; at 8 x 8, only the block of dilation 2 has tiles.
    assert sum(name.startswith("backbone.layer3") for name in replaced) == 22
    assert [name for name in replaced if "layer4" in name] == ["backbone.layer4.0.conv2"]
    assert not any(name.startswith("clicks") for name in replaced)
    assert not any(isinstance(m, WinogradConv) for m in fused.modules())
    assert quick.backbone.conv1.weight is fused.backbone.conv1.weight
    x, clicks = torch.rand(1, 5, side, side) * 255, torch.rand(1, 2, side, side) * 255
    with torch.inference_mode():
        wanted, found = fused(x, clicks), quick(x, clicks)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
        half = torch.rand(1, 5, side // 2, side // 2)
        with pytest.raises(IndexError):
            quick(half, half[:, 3:])


def test_a_network_without_large_ones_has_no_other_form() -> None:
    fused = fuse(build_network("iog-lite").eval())
    assert with_winograd(fused, 256) is None
