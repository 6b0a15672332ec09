from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iog.errors import WeightsError
from iog.models.checkpoint import Checkpoint
from iog.training.initial import load_efficientnet, load_initial, load_mobilenet, open_initial
from networks import build_network
from networks.backbones import (
    EfficientNetLite2,
    InvertedBottleneck,
    MobileNetV1,
    ResNet101,
    SeparableConv,
)
from tests.random_weights import write_random_lite


@pytest.fixture
def arrays() -> dict[str, NDArray[np.float32]]:
    """Random arrays under the names and in the shapes of the Keras weights."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> NDArray[np.float32]:
        return rng.uniform(0.1, 1, shape).astype(np.float32)

    backbone = MobileNetV1()
    found = {"conv1|kernel": random(3, 3, 3, 32)}
    norms = {"conv1_bn": 32}
    for number, block in enumerate(
        (b for b in backbone.modules() if isinstance(b, SeparableConv)), start=1
    ):
        inputs, outputs = block.pointwise.in_channels, block.pointwise.out_channels
        found[f"conv_dw_{number}|depthwise_kernel"] = random(3, 3, inputs, 1)
        found[f"conv_pw_{number}|kernel"] = random(1, 1, inputs, outputs)
        norms |= {f"conv_dw_{number}_bn": inputs, f"conv_pw_{number}_bn": outputs}
    for name, width in norms.items():
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            found[f"{name}|{part}"] = random(width)
    return found


def test_every_weight_is_set_and_lies_where_it_should(
    tmp_path: Path, arrays: dict[str, NDArray[np.float32]]
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    torch.manual_seed(0)
    first, second = MobileNetV1(), MobileNetV1()
    for backbone in (first, second):
        load_mobilenet(backbone, tmp_path / "a.npz")
    for (key, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    kernel = arrays["conv1|kernel"]
    assert first.conv1.weight[7, 2, 0, 1].item() == kernel[0, 1, 2, 7]
    assert not first.conv1.weight[:, 3:].any()
    block = first.layer2[0]
    assert isinstance(block, SeparableConv)
    depthwise = arrays["conv_dw_4|depthwise_kernel"]
    assert block.depthwise.weight[5, 0, 2, 1].item() == depthwise[2, 1, 5, 0]
    assert block.bn2.running_var is not None
    np.testing.assert_array_equal(block.bn2.running_var, arrays["conv_pw_4_bn|moving_variance"])


def test_a_whole_network_starts_from_its_weights(tmp_path: Path) -> None:
    initial = open_initial(str(write_random_lite(tmp_path / "mine.pt")), weights_dir=tmp_path)
    assert isinstance(initial, Checkpoint)
    network = build_network("iog-lite")
    load_initial(network, initial)
    for key, value in network.state_dict().items():
        assert torch.equal(value, initial.state[key])
    named = open_initial("mine", weights_dir=tmp_path)
    assert isinstance(named, Checkpoint)
    assert named.spec.path == initial.spec.path


def torchvision_state(backbone: ResNet101) -> dict[str, torch.Tensor]:
    """The backbone's state as torchvision saves it: three input channels and a classifier."""
    state = dict(backbone.state_dict())
    state["conv1.weight"] = state["conv1.weight"][:, :3].clone()
    return {**state, "fc.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}


BLOCK = {
    "_expand_conv": "expand",
    "_bn0": "bn0",
    "_depthwise_conv": "depthwise",
    "_bn1": "bn1",
    "_project_conv": "project",
    "_bn2": "bn2",
}


def published_state(backbone: EfficientNetLite2) -> dict[str, torch.Tensor]:
    """The backbone's state under the names of the published file, and some that come after it."""
    state = {"_conv_stem.weight": backbone.conv1.weight[:, :3].clone()}
    state |= {f"_bn0.{key}": value for key, value in backbone.bn1.state_dict().items()}
    blocks = [m for m in backbone.modules() if isinstance(m, InvertedBottleneck)]
    for number, block in enumerate(blocks):
        parts = block.state_dict()
        for theirs, mine in BLOCK.items():
            state |= {
                f"_blocks.{number}.{theirs}.{key.partition('.')[2]}": value
                for key, value in parts.items()
                if key.startswith(f"{mine}.")
            }
    return {**state, "_blocks.17._expand_conv.weight": torch.zeros(3), "_fc.bias": torch.zeros(3)}


def test_efficientnets_weights_lie_where_they_should() -> None:
    torch.manual_seed(0)
    given, found = EfficientNetLite2(), EfficientNetLite2()
    for parameter in given.parameters():
        torch.nn.init.normal_(parameter)
    state = published_state(given)
    assert len([key for key in state if key.startswith("_blocks.16.")]) == 18
    load_efficientnet(found, state)
    for key, value in found.state_dict().items():
        if key == "conv1.weight":
            assert torch.equal(value[:, :3], given.conv1.weight[:, :3])
            assert not value[:, 3:].any()
        else:
            assert torch.equal(value, given.state_dict()[key]), key
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(WeightsError, match=r"_blocks\.3\._bn1\.bias is missing"):
        load_efficientnet(found, state)
    state["_blocks.3._bn1.bias"] = torch.zeros(2)
    with pytest.raises(WeightsError, match=r"shape mismatch for _blocks\.3\._bn1\.bias: \(2,\)"):
        load_efficientnet(found, state)


def test_backbones_start_from_imagenet_by_the_kind_of_file(
    arrays: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "mobile.npz", **arrays)  # type: ignore[arg-type]
    torch.save(torchvision_state(ResNet101()), tmp_path / "resnet.pth")
    torch.save(published_state(EfficientNetLite2()), tmp_path / "efficient.pth")
    for file, architecture in (
        ("mobile.npz", "iog-lite-2"),
        ("resnet.pth", "iog-resnet101"),
        ("efficient.pth", "iog-lite"),
    ):
        initial = open_initial(str(tmp_path / file), weights_dir=tmp_path)
        network = build_network(architecture)
        load_initial(network, initial)
        stem = network.get_parameter("backbone.conv1.weight")
        assert stem[:, :3].any()
        assert not stem[:, 3:].any()


def test_weights_of_something_else_are_refused(
    arrays: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "mobile.npz", **arrays)  # type: ignore[arg-type]
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    whole = str(write_random_lite(tmp_path / "mine.pt"))
    resnet, lite = build_network("iog-resnet101"), build_network("iog-lite-2")
    for network, file, message in (
        (resnet, str(tmp_path / "mobile.npz"), "another backbone than the ResNet101"),
        (resnet, whole, "holds iog-lite, and another network"),
        (lite, str(tmp_path / "other.npz"), "does not hold MobileNetV1's arrays"),
        (lite, str(tmp_path / "broken.npz"), "does not hold MobileNetV1's arrays"),
    ):
        initial = open_initial(file, weights_dir=tmp_path)
        with pytest.raises(WeightsError, match=message):
            load_initial(network, initial)
