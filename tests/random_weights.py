"""A model for tests that need one which runs, not one which is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from iog.models.checkpoint import Checkpoint, write_checkpoint
from iog.models.spec import own_spec
from networks import build_network


def write_random_lite(
    path: Path, *, input_size: int | None = None, architecture: str = "iog-lite"
) -> Path:
    """Write a checkpoint with random parameters, the same every time.

    With a smaller ``input_size`` every step of a request is the real one, and takes less time.
    """
    spec = own_spec(path, architecture=architecture)
    if input_size is not None:
        spec = replace(spec, crop=replace(spec.crop, input_size=input_size))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build_network(spec.architecture)
    write_checkpoint(path, Checkpoint(spec, network.state_dict()))
    return path
