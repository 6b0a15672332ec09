"""From a run's checkpoint to weights for serving: without what resuming needs, as fp16."""

from __future__ import annotations

from pathlib import Path

import torch

from iog.models.checkpoint import read_checkpoint, save


def export(checkpoint: Path, out: Path) -> Path:
    """Write the averaged weights of a run as a self-describing checkpoint, stored as fp16.

    Args:
        checkpoint: the run's ``last.pt``.
        out: the file to write.

    Returns:
        ``out``.
    """
    found = read_checkpoint(checkpoint)
    save(
        out,
        found.state,
        architecture=found.architecture,
        crop=found.crop,
        threshold=found.threshold,
        metadata=found.metadata,
        dtype=torch.float16,
    )
    return out
