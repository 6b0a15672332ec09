from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from networks.backbones import MobileNetV1, SeparableConv
from training.initial import load_mobilenet


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
