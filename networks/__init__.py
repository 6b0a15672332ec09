"""The IOG networks in plain torch, their weights, and the engines that run them.

The networks are imported when they are first asked for: an engine that runs an exported model
finds its weights and its crop rule in this package without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from networks.architectures import ARCHITECTURES, build_network
    from networks.mainnetwork import MainNetwork
    from networks.refinementnetwork import RefinementNetwork

__all__ = ["ARCHITECTURES", "MainNetwork", "RefinementNetwork", "build_network"]

_HOMES: Final = {
    "ARCHITECTURES": "networks.architectures",
    "MainNetwork": "networks.mainnetwork",
    "RefinementNetwork": "networks.refinementnetwork",
    "build_network": "networks.architectures",
}


def __getattr__(name: str) -> object:
    """Import what needs torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    return found
