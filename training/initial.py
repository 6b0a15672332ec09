"""Initial weights: MobileNetV1 trained on ImageNet, from an ``.npz`` of its Keras arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from networks.backbones import GUIDED_CHANNELS, MobileNetV1, SeparableConv


def load_mobilenet(backbone: MobileNetV1, path: Path) -> None:
    """Copy ImageNet weights into ``backbone``; the guidance channels start at zero.

    Args:
        backbone: every convolution and BatchNorm of it is set.
        path: arrays named as in Keras with ``|`` for ``/``; kernels HWIO, depthwise HWC1.
    """
    with np.load(path) as arrays:
        kernel = torch.from_numpy(arrays["conv1|kernel"]).permute(3, 2, 0, 1)
        with torch.no_grad():
            backbone.conv1.weight.zero_()
            backbone.conv1.weight[:, : GUIDED_CHANNELS - 2] = kernel
        _copy_norm(backbone.bn1, arrays, "conv1_bn")
        blocks = [b for b in backbone.modules() if isinstance(b, SeparableConv)]
        for number, block in enumerate(blocks, start=1):
            depthwise = torch.from_numpy(arrays[f"conv_dw_{number}|depthwise_kernel"])
            pointwise = torch.from_numpy(arrays[f"conv_pw_{number}|kernel"])
            with torch.no_grad():
                block.depthwise.weight.copy_(depthwise.permute(2, 3, 0, 1))
                block.pointwise.weight.copy_(pointwise.permute(3, 2, 0, 1))
            _copy_norm(block.bn1, arrays, f"conv_dw_{number}_bn")
            _copy_norm(block.bn2, arrays, f"conv_pw_{number}_bn")


def _copy_norm(norm: nn.BatchNorm2d, arrays: np.lib.npyio.NpzFile, name: str) -> None:
    def array(part: str) -> Tensor:
        return torch.from_numpy(arrays[f"{name}|{part}"])

    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.copy_(array("gamma"))
        norm.bias.copy_(array("beta"))
        norm.running_mean.copy_(array("moving_mean"))
        norm.running_var.copy_(array("moving_variance"))
