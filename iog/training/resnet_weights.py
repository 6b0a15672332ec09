"""Initial weights: ResNet-101 trained on ImageNet, from torchvision's state dict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from iog.errors import WeightsError
from networks.backbones import GUIDED_CHANNELS, ResNet101

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
    misshapen = [key for key in wanted if given[key].shape != wanted[key].shape]
    if misshapen:
        raise WeightsError(
            f"{misshapen[0]} has the shape {tuple(given[misshapen[0]].shape)}, and in a "
            f"ResNet-101 it is {tuple(wanted[misshapen[0]].shape)}."
        )
    backbone.load_state_dict(given)
