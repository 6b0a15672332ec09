"""Folded weights, kept beside the fetched ones so that workers share them.

Folding gives every process parameters of its own. So the first process to fold a file of weights
writes the result into the weights folder, and it and all others map that file: its pages are in
memory once, however many workers there are. Where the folder cannot be written, each worker keeps
its own copy.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from dataloaders.geometry import CropRule, crop_fields
from iog.errors import WeightsError
from iog.models.checkpoint import load
from iog.models.registry import WeightsRow, own_row, resolve
from iog.models.weightfiles import check_identity, read, sha256_of, writing
from networks.architectures import build_network
from networks.inference import InferenceNetwork, inference_form

__all__ = ["LoadedForm", "load_form"]

FORMAT: Final = "iog-folded"
VERSION: Final = 2
"""Changes with the modules of ``networks.inference``, whose parameters are stored by name."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedForm:
    """A network for predicting, and how to feed it."""

    network: InferenceNetwork
    row: WeightsRow
    sha256: str
    """Hash of the file of weights that it was made from."""
    mapped: bool
    """Whether its parameters are pages of a file that all processes share."""


def load_form(
    name_or_path: str,
    *,
    weights_dir: Path,
    sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedForm:
    """Load a model for predicting on the CPU, folded at most once on this machine.

    Args:
        name_or_path: a name of ``iog.models.registry`` or a path.
        weights_dir: where weights are looked for, and folded ones kept (in ``folded/``).
        sha256: refuse any file but the one with this hash.
        dtype: what to calculate in; see ``InferenceNetwork.lowered``.

    Raises:
        WeightsError: see ``checkpoints.load``.
    """
    row, path = resolve(name_or_path, weights_dir=weights_dir)
    digest = check_identity(path, row=row, sha256=sha256) or sha256_of(path)
    kind = str(dtype).removeprefix("torch.")
    kept = weights_dir / "folded" / f"{path.stem}-{digest[:16]}-{kind}.pt"
    found = _read(kept, row=row, path=path, digest=digest, dtype=dtype)
    if found is None:
        made = _fold(name_or_path, weights_dir=weights_dir, dtype=dtype, digest=digest)
        if not _write(kept, made):
            return made
        found = _read(kept, row=row, path=path, digest=digest, dtype=dtype) or made
    return found


def _fold(name: str, *, weights_dir: Path, dtype: torch.dtype, digest: str) -> LoadedForm:
    model = load(name, weights_dir=weights_dir)
    return LoadedForm(inference_form(model.network).lowered(dtype), model.row, digest, mapped=False)


def _write(kept: Path, made: LoadedForm) -> bool:
    """Keep a folded network in place of older ones of the same name; False if it cannot be."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": made.sha256,
        "architecture": made.row.architecture,
        "crop": asdict(made.row.crop),
        "threshold": made.row.threshold,
        "state_dict": made.network.state_dict(),
    }
    stem, _, kind = kept.stem.rsplit("-", 2)
    try:
        with writing(kept) as file:
            torch.save(content, file)
        for older in kept.parent.glob("*.pt"):
            if older != kept and older.stem.rsplit("-", 2)[::2] == [stem, kind]:
                older.unlink(missing_ok=True)  # who has it mapped keeps it
    except OSError as error:
        _LOG.info("Folded weights are not kept, each worker has its own: %s", error)
        return False
    return True


def _read(
    kept: Path, *, row: WeightsRow | None, path: Path, digest: str, dtype: torch.dtype
) -> LoadedForm | None:
    """What ``_write`` kept of this file of weights; None if there is nothing that can be used."""
    if not kept.is_file():
        return None
    try:
        content, mapped = read(kept)
        return _parse(content, row=row, path=path, digest=digest, dtype=dtype, mapped=mapped)
    except (WeightsError, KeyError, TypeError, ValueError, RuntimeError) as error:
        _LOG.warning("%s is not usable and will be made again: %s", kept.name, error)
        return None


def _parse(
    content: Any,  # noqa: ANN401 - any file may lie there
    *,
    row: WeightsRow | None,
    path: Path,
    digest: str,
    dtype: torch.dtype,
    mapped: bool,
) -> LoadedForm | None:
    if (content["format"], content["version"], content["sha256"]) != (FORMAT, VERSION, digest):
        return None
    architecture = content["architecture"]
    row = row or own_row(path, architecture=architecture)
    if row.architecture != architecture:
        return None  # loading the weights themselves says what is wrong
    row = replace(
        row, crop=CropRule(**crop_fields(content["crop"])), threshold=content["threshold"]
    )
    with torch.device("meta"):
        network = inference_form(build_network(architecture))
    network.load_state_dict(content["state_dict"], strict=True, assign=True)
    network.lowered(dtype)
    return LoadedForm(network.requires_grad_(False), row, digest, mapped)
