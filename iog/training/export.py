"""From a run's checkpoint to weights for serving: without what resuming needs, as fp16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from iog.models.checkpoint import read_checkpoint, write_checkpoint


def export(checkpoint: Path, out: Path) -> Path:
    """Write the averaged weights of a run as a self-describing checkpoint, stored as fp16.

    Args:
        checkpoint: the run's ``last.pt``.
        out: the file to write.

    Returns:
        ``out``.
    """
    found = replace(read_checkpoint(checkpoint), training={})
    write_checkpoint(out, found, dtype=torch.float16)
    return out
