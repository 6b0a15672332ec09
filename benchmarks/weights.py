"""Weights to measure with: the real ones where they are, others of the same size where not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["random_checkpoint", "stock_weights"]


def random_checkpoint(architecture: str, path: Path) -> None:
    """Write a checkpoint with random parameters, but outputs of the usual size."""
    from networks import weights
    from networks.checkpoints import save

    row = next(row for row in weights.rows() if row.architecture == architecture)
    save(
        path,
        _random_state(architecture),
        architecture=architecture,
        crop=row.crop,
        threshold=row.threshold,
        metadata={"note": "random parameters, for measuring only"},
    )


def stock_weights(path: Path) -> None:
    """Write random parameters of the ResNet-101 main network as `torch.save` does."""
    import torch

    torch.save(_random_state("iog-resnet101"), path)


def _random_state(architecture: str) -> dict[str, Tensor]:
    import torch

    from networks import build_network

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(architecture)
        # One pass lets every BatchNorm find its scale: through a hundred layers without, values
        # run out of the range of floats, and a mask of NaN is quickly written.
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        inputs = [torch.rand(2, 5, 256, 256) * 255]
        if architecture != "iog-resnet101":
            inputs.append(torch.rand(2, 2, 256, 256) * 255)
        with torch.no_grad():
            network.train()(*inputs)
    return dict(network.state_dict())
