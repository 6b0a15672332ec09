"""Weights to measure with: the real ones where they are, others of the same size where not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["random_checkpoint", "stock_weights"]


def random_checkpoint(architecture: str, path: Path) -> None:
    """Write a checkpoint with random parameters, but outputs of the usual size."""
    from iog.models.checkpoint import Checkpoint, write_checkpoint
    from iog.models.spec import own_spec

    spec = own_spec(path, architecture=architecture)
    note = {"note": "random parameters, for measuring only"}
    write_checkpoint(path, Checkpoint(spec, _random_state(architecture), note))


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
        sides = (64, 256)
        samples = [[torch.rand(2, n, side, side) * 255 for n in (5, 2)] for side in sides]
        count = 1 if architecture == "iog-resnet101" else 2  # inputs: has it a click branch?
        with torch.no_grad():
            network.train()(*samples[0][:count])
            logits = network.eval()(*samples[1][:count])[-1]
        state = dict(network.state_dict())
        # Almost every pixel of a crop becomes object: no mask costs more to write.
        last = "Fine_net.final_predict.2"
        state[f"{last}.weight"] = state[f"{last}.weight"] / logits.std()
        state[f"{last}.bias"] = (state[f"{last}.bias"] - logits.mean()) / logits.std() + 4
    return state
