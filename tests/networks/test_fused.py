"""The fused network computes what the trained network computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from iog.models.checkpoint import read_checkpoint
from iog.models.spec import resolve
from networks import MainNetwork, RefinementNetwork, build_network
from networks.backbones import EfficientNetLite2, MobileNetV1, ResNet101
from networks.fused import fuse

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "main": lambda: MainNetwork(ResNet101(width=8), decoder_width=16, psp_width=32),
    "main-mobile": lambda: MainNetwork(MobileNetV1(width=8), decoder_width=16, psp_width=32),
    "main-efficient": lambda: MainNetwork(
        EfficientNetLite2(width=8), decoder_width=16, psp_width=32
    ),
    "refinement": lambda: RefinementNetwork(
        ResNet101(width=8), decoder_width=16, psp_width=32, click_widths=(8, 8, 16, 16)
    ),
    "iog-lite": lambda: build_network("iog-lite"),
    "iog-lite-2": lambda: build_network("iog-lite-2"),
}


def lively(network: nn.Module) -> nn.Module:
    """Random statistics everywhere, so that nothing cancels by chance."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, low, high in (
                (module.weight, 0.5, 1.2),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                with torch.no_grad():
                    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(1)
    return lively(NETWORKS[request.param]())


def inputs(side: int = 96, maps: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.rand(1, 5, side, side, generator=generator) * 255,
        torch.rand(1, maps, side, side, generator=generator) * 255,
    )


def trained(network: nn.Module, x: Tensor, clicks: Tensor) -> Tensor:
    """The fine prediction at the input's size."""
    out = network(x, clicks)[-1] if isinstance(network, RefinementNetwork) else network(x)[-1]
    return nn.functional.interpolate(out, x.shape[-2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "conv2d"])
def test_logits_are_those_of_the_trained_network(
    network: nn.Module, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not onednn:
        monkeypatch.setattr("networks.fusing._ONEDNN_CONV", None)
    fused = fuse(network)
    x, clicks = inputs(maps=fused.click_maps)
    with torch.inference_mode():
        expected = trained(network, x, clicks)
        found = fused.decode(fused.encode(x), clicks)
    assert found.shape == expected.shape
    spread = float(expected.std())
    assert spread > 1e-3
    assert float((found - expected).abs().max()) < 1e-3 * max(spread, 1.0)


def test_later_clicks_are_decoded_alone(network: nn.Module) -> None:
    fused = fuse(network)
    x, clicks = inputs(maps=fused.click_maps)
    maps = torch.cat([x[:, 3:], torch.zeros(1, fused.click_maps - 2, 96, 96)], dim=1)
    with torch.inference_mode():
        encoded = fused.encode(x)
        first, later = fused.decode(encoded, maps), fused.decode(encoded, clicks)
        assert torch.equal(fused.decode(encoded, maps), first)
    assert torch.equal(first, later) == isinstance(network, MainNetwork)


def test_no_norm_is_left_and_the_trained_network_stays_whole(network: nn.Module) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fused = fuse(network)
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(p.requires_grad for p in fused.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_side_heads_and_unused_layers_are_gone(network: nn.Module) -> None:
    fused = fuse(network)
    count = sum(p.numel() for p in fused.parameters())
    assert count < sum(p.numel() for p in network.parameters())


def test_the_bundled_model_gives_the_same_masks() -> None:
    checkpoint = read_checkpoint(resolve("iog-lite", weights_dir=Path("nowhere")))
    network = checkpoint.network()
    fused = fuse(network)
    x, clicks = inputs(checkpoint.spec.crop.input_size, fused.click_maps)
    with torch.inference_mode():
        expected = trained(network, x, clicks)
        found = fused.decode(fused.encode(x), clicks)
    assert float((found - expected).abs().max()) < 1e-3


def test_full_size_resnet_is_within_the_tolerance() -> None:
    torch.manual_seed(0)
    network = lively(build_network("iog-resnet101-refinement"))
    fused = fuse(network)
    x, clicks = inputs(64)
    with torch.inference_mode():
        expected = trained(network, x, clicks)
        found = fused.decode(fused.encode(x), clicks)
    assert float((found - expected).abs().max()) < 1e-3 * max(float(expected.std()), 1.0)


def test_other_modules_cannot_be_fused() -> None:
    with pytest.raises(TypeError, match="a Linear cannot be fused"):
        fuse(nn.Linear(1, 1))
