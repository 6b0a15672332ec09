"""The IOG networks (Zhang et al., CVPR 2020) in plain torch, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from networks.backbones import Backbone, EfficientNetLite2, MobileNetV1, ResNet101
from networks.main_network import MainNetwork
from networks.refinement_network import RefinementNetwork

__all__ = ["ARCHITECTURES", "MainNetwork", "RefinementNetwork", "build_network"]


def _lite(backbone: Backbone, *, previous_mask: bool) -> nn.Module:
    return RefinementNetwork(
        backbone,
        decoder_width=96,
        psp_width=256,
        psp_stage_width=128,
        click_widths=(16, 32, 64, 64),
        click_outputs=32,
        click_skips=True,
        previous_mask=previous_mask,
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "iog-resnet101": lambda: MainNetwork(ResNet101()),
    "iog-resnet101-refinement": lambda: RefinementNetwork(ResNet101()),
    "iog-lite": lambda: _lite(EfficientNetLite2(), previous_mask=True),
    "iog-lite-2": lambda: _lite(MobileNetV1(), previous_mask=False),
}


def build_network(architecture: str) -> nn.Module:
    """Build a network with freshly initialised parameters, in training mode.

    Args:
        architecture: a key of ``ARCHITECTURES``.

    Raises:
        ValueError: the name is not known; the message lists those that are.
    """
    try:
        build = ARCHITECTURES[architecture]
    except KeyError:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"unknown architecture {architecture!r}; known: {known}") from None
    return build()
