from __future__ import annotations

import pytest
import torch

from networks import ARCHITECTURES, MainNetwork, RefinementNetwork, build_network
from networks.backbones import Backbone, EfficientNetLite2, MobileNetV1, ResNet101
from tests import reference

TOLERANCE = 2e-3  # deliberate mistakes (dilation, resize, order of channels) give 0.07 and more


def _filled(architecture: str, network: str) -> MainNetwork | RefinementNetwork:
    module = build_network(architecture)
    assert isinstance(module, MainNetwork | RefinementNetwork)
    reference.fill(module, network)
    return module.eval()


@pytest.mark.parametrize(
    ("architecture", "network"),
    [("iog-resnet101", "main"), ("iog-resnet101-refinement", "refinement")],
)
def test_state_dict_is_that_of_the_published_weights(architecture: str, network: str) -> None:
    with torch.device("meta"):
        state = build_network(architecture).state_dict()
    found = [(k, list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()]
    assert found == reference.manifest(network)


def test_main_network_equals_the_official_one() -> None:
    network = _filled("iog-resnet101", "main")
    assert isinstance(network, MainNetwork)
    with torch.inference_mode():
        outputs = network(reference.network_input())
    for name, logits in zip(reference.SIDES, outputs, strict=True):
        assert logits.shape == (1, 1, 512, 512)
        expected = torch.from_numpy(reference.outputs()[f"main/out/{name}"])
        torch.testing.assert_close(logits[0, 0, ::4, ::4], expected, atol=TOLERANCE, rtol=0)


def test_refinement_network_equals_the_official_one() -> None:
    network = _filled("iog-resnet101-refinement", "refinement")
    assert isinstance(network, RefinementNetwork)
    with torch.inference_mode():
        features = network.encode(reference.network_input())
        for step, clicks in enumerate(reference.click_maps()):
            outputs = network.decode(features, clicks)
            assert torch.equal(network.decode_fine(features, clicks), outputs[-1])
            for name, logits in zip(reference.SIDES, outputs, strict=True):
                assert logits.shape == (1, 1, 128, 128)
                expected = torch.from_numpy(reference.outputs()[f"ref/step{step}/out/{name}"])
                torch.testing.assert_close(logits[0, 0, ::2, ::2], expected, atol=TOLERANCE, rtol=0)


def test_forward_is_decode_of_encode() -> None:
    network = build_network("iog-lite").eval()
    assert isinstance(network, RefinementNetwork)
    x = torch.rand(1, 5, 64, 64) * 255
    clicks = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        for a, b in zip(network(x, clicks), network.decode(network.encode(x), clicks), strict=True):
            assert torch.equal(a, b)


SMALL = {"iog-lite": 3, "iog-lite-2": 2}
"""Networks of the bundled model, and how many maps their click branch reads."""


@pytest.mark.parametrize(("name", "maps"), SMALL.items())
def test_the_small_network_is_small_and_of_the_same_shape(name: str, maps: int) -> None:
    network = build_network(name).eval()
    assert sum(p.numel() for p in network.parameters()) <= 4_000_000
    with torch.inference_mode():
        outputs = network(torch.zeros(2, 5, 256, 256), torch.zeros(2, maps, 256, 256))
    assert [tuple(o.shape) for o in outputs] == [(2, 1, 64, 64)] * 5


@pytest.mark.parametrize(
    "backbone", [ResNet101(width=8), MobileNetV1(width=8), EfficientNetLite2(width=8)]
)
def test_widths_are_parameters_of_one_design(backbone: Backbone) -> None:
    x = torch.rand(1, 5, 64, 64) * 255
    main = MainNetwork(backbone, decoder_width=16, psp_width=24).eval()
    refinement = RefinementNetwork(backbone, decoder_width=16, psp_width=24).eval()
    with torch.inference_mode():
        assert [tuple(o.shape) for o in main(x)] == [(1, 1, 64, 64)] * 5
        assert [tuple(o.shape) for o in refinement(x, x[:, 3:])] == [(1, 1, 16, 16)] * 5


@pytest.mark.parametrize(("name", "maps"), SMALL.items())
def test_every_input_of_the_small_network_reaches_its_output(name: str, maps: int) -> None:
    torch.manual_seed(0)
    network = build_network(name).eval()
    x = (torch.rand(1, 5, 64, 64) * 255).requires_grad_()
    clicks = (torch.rand(1, maps, 64, 64) * 255).requires_grad_()
    network(x, clicks)[-1].sum().backward()
    assert x.grad is not None
    assert clicks.grad is not None
    assert all(x.grad[0, channel].abs().sum() > 0 for channel in range(5))
    assert all(clicks.grad[0, channel].abs().sum() > 0 for channel in range(maps))


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnet'.*iog-lite") as error:
        build_network("resnet")
    assert all(name in str(error.value) for name in ARCHITECTURES)
