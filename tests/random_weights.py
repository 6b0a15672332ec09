"""A model for tests that need one which runs, not one which is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from iog.models.checkpoint import save
from iog.models.registry import TABLE
from networks import build_network


def write_random_lite(path: Path, *, input_size: int | None = None) -> Path:
    """Write a checkpoint of iog-lite with random parameters, the same every time.

    With a smaller ``input_size`` every step of a request is the real one, and takes less time.
    """
    row = TABLE["iog-lite"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build_network(row.architecture)
    save(
        path,
        network.state_dict(),
        architecture=row.architecture,
        crop=row.crop if input_size is None else replace(row.crop, input_size=input_size),
        threshold=row.threshold,
        metadata={},
    )
    return path
