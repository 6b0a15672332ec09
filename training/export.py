"""From a run's checkpoint to weights that can be served."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path
from typing import Any

import torch

from dataloaders.geometry import CropRule
from networks.checkpoints import save

PREFIX = "module."  # the averaged model keeps the network under this name


def export(run: Path, out: Path, *, data: str) -> Path:
    """Write the averaged weights of a run as a self-describing checkpoint, stored as fp16.

    Args:
        run: the run's folder, with ``last.pt`` and ``log.csv``.
        out: the file to write.
        data: what the run was trained on, for the metadata.

    Returns:
        ``out``.
    """
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    config = state["config"]
    average = {
        key.removeprefix(PREFIX): value
        for key, value in state["average"].items()
        if key.startswith(PREFIX)
    }
    save(
        out,
        average,
        architecture=config["architecture"],
        crop=CropRule(**config["crop"]),
        threshold=config["threshold"],
        metadata={
            "data": data,
            "steps": state["step"],
            "config": config,
            "metrics": _last_scores(run / "log.csv"),
            "commit": _commit(),
        },
        dtype=torch.float16,
    )
    return out


def _last_scores(log: Path) -> dict[str, Any]:
    """The log's last row that has scores, as numbers."""
    with log.open(newline="") as file:
        scored = [row for row in csv.DictReader(file) if row["iou"]]
    return {key: float(value) for key, value in scored[-1].items()} if scored else {}


def _commit() -> str:
    """The code's commit, or ``unknown`` outside a checkout."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
