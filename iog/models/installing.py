"""Put weights of one's own beside the others, under a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from iog.errors import WeightsError
from iog.models.checkpoint import inspect, save
from iog.models.registry import TABLE

__all__ = ["install"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASELINES: Final = ("box", "ellipse", "grabcut")
"""What `iog evaluate --model` calls something else."""


def install(path: Path, name: str, *, folder: Path, force: bool = False) -> Path:
    """Check a file of weights and write what serving needs of it as ``folder/NAME.pt``.

    What resuming a training needs stays out, and parameters become float32 in a form that several
    workers share in memory, whatever the file had.

    Args:
        path: a checkpoint of a training, or a plain state dict of one of our networks.
        name: what ``IOG_MODEL`` shall call it.
        folder: made if it does not exist.
        force: replace an earlier file of that name.

    Returns:
        The new file.

    Raises:
        WeightsError: the name is taken or no name, or the file is unusable or cannot be written.
    """
    _check_name(name)
    target = folder / f"{name}.pt"
    if target.exists() and not force:
        raise WeightsError(
            f"There are weights called {name!r} already, {target}: choose another name, or replace "
            "them with --force."
        )
    weights = inspect(path, row=None)
    try:
        save(
            target,
            weights.state,
            architecture=weights.row.architecture,
            crop=weights.row.crop,
            threshold=weights.row.threshold,
            metadata=weights.metadata,
        )
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}.") from error
    return target


def _check_name(name: str) -> None:
    published = {part for row in TABLE.values() for part in (row.name, Path(row.filename).stem)}
    if name in published or name in _BASELINES:
        raise WeightsError(f"{name!r} is the name of another model: choose another.")
    if not _NAME.fullmatch(name) or name.endswith((".pt", ".pth")):
        raise WeightsError(
            f"{name!r} is no name for weights: use up to 64 letters, digits, dots, dashes and "
            "underlines, without .pt at the end."
        )
