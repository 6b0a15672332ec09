"""ImageNet weights of torchvision give torchvision's features."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from iog.errors import WeightsError
from iog.training.initial import MEAN, STD, is_resnet, load_resnet
from networks.backbones import ResNet101


@pytest.fixture(scope="module")
def reference() -> Iterator[nn.Module]:
    """torchvision's own ResNet-101 with lively random weights and statistics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib.util.find_spec("torchvision")
        assert found is not None
        assert found.origin is not None
        load, declare = cast("tuple[Any, Any]", (torch.ops.load_library, torch.library.Library))
        try:
            load(str(Path(found.origin).with_name("_C.so")))
            operators = None
        except OSError:
            # PyPI's wheels are built for CUDA. Beside a CPU torch their operators cannot be loaded,
            # and the import fails because it describes them; names without code are enough.
            operators = declare("torchvision", "FRAGMENT")
            operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision.models import resnet101

    torch.manual_seed(5)
    network: nn.Module = resnet101()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    yield network.eval()
    del operators


@pytest.fixture(scope="module")
def state(reference: nn.Module) -> Mapping[str, Tensor]:
    return reference.state_dict()


def test_features_are_torchvisions_away_from_the_edge(
    reference: nn.Module, state: Mapping[str, Tensor]
) -> None:
    backbone = ResNet101().eval()
    load_resnet(backbone, state)
    colours = torch.rand(1, 3, 128, 128) * 255
    normalised = (colours / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
        3, 1, 1
    )
    guidance = torch.rand(1, 2, 128, 128) * 255
    with torch.inference_mode():
        body = nn.Sequential(*list(reference.children())[:5])
        expected = body(normalised)[..., 8:-8, 8:-8]
        found = backbone(torch.cat([colours, guidance], dim=1)).stride4[..., 8:-8, 8:-8]
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_everything_but_the_stem_is_copied(state: Mapping[str, Tensor]) -> None:
    backbone = ResNet101()
    load_resnet(backbone, state)
    own = backbone.state_dict()
    changed = {key for key in own if not torch.equal(own[key], state[key])}
    assert changed == {"conv1.weight", "bn1.running_mean", "bn1.running_var"}
    assert not own["conv1.weight"][:, 3:].any()


def test_files_without_counters_are_taken(state: Mapping[str, Tensor]) -> None:
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    load_resnet(ResNet101(), old)


def test_a_resnet_is_told_by_its_names(state: Mapping[str, Tensor]) -> None:
    assert is_resnet(state)
    assert not is_resnet({"backbone.conv1.weight": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer3.22.conv1.weight": None}, r"layer3\.22\.conv1\.weight is missing"),
        ({"layer3.23.conv1.weight": torch.zeros(1)}, r"layer3\.23\.conv1\.weight is in the"),
        (
            {"layer1.0.conv1.weight": torch.zeros(1)},
            r"shape mismatch for layer1\.0\.conv1\.weight: \(1",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    state: Mapping[str, Tensor], change: dict[str, Tensor | None], message: str
) -> None:
    other = {key: value for key, value in {**state, **change}.items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        load_resnet(ResNet101(), other)
