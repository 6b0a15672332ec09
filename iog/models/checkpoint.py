"""Load the weights of any supported file into a network, and save checkpoints of our own.

Three kinds of file are read, as zip archives (PyTorch since 1.6) and in the older form:

* a plain state dict, such as the published files, with or without the ``num_batches_tracked``
  counters that PyTorch before 0.4.1 did not write;
* a checkpoint of ``save``, which says itself what network it is and how to feed it:
  ``{"format": "iog", "version": 2, "architecture", "crop", "threshold", "metadata",
  "state_dict"}``;
* the same with an optimiser's state under ``"training"``, which loading ignores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dataloaders.geometry import CropRule, crop_fields
from iog.errors import WeightsError
from iog.models.registry import WeightsRow, own_row, resolve
from iog.models.weightfiles import check_identity, read, sha256_of, writing
from networks import ARCHITECTURES, build_network
from networks.statedicts import closest, complete, find_misfit

__all__ = [
    "Checkpoint",
    "LoadedModel",
    "Report",
    "Weights",
    "inspect",
    "load",
    "open_weights",
    "read_checkpoint",
    "save",
    "verify",
]

FORMAT: Final = "iog"
VERSION: Final = 2
"""Files of version 1 call the crop rule's ``input_size`` ``frame``, and are read as well."""
_STANDINGS: Final = {
    (True, True): "equals the published file",
    (True, False): "equals the public copy that is known, which nobody has confirmed",
    (False, True): "is the file that comes with this project",
    (False, False): "equals the file that is known, which nobody has confirmed",
}
"""Of a file with the hash of its row, by whether it is published and the hash is confirmed."""


@dataclass(frozen=True)
class Checkpoint:
    """A self-describing checkpoint, as ``save`` wrote it."""

    architecture: str
    crop: CropRule
    threshold: float
    metadata: Mapping[str, Any]
    """JSON values: training data, configuration, metrics, commit."""
    state: Mapping[str, Tensor]
    """Parameters and buffers in the dtype they are stored in."""
    training: Mapping[str, Any]
    """What resuming needs (optimiser, step, ...); empty in a checkpoint for serving."""


@dataclass(frozen=True)
class Weights:
    """An opened file that fits one of our networks."""

    row: WeightsRow
    """What the model is: the table's row, with what the file says of itself in place of it."""
    path: Path
    sha256: str | None
    """The file's hash, if there was anything to compare it with."""
    state: Mapping[str, Tensor]
    """Exactly the keys of the network's state dict; floating-point tensors are float32."""
    metadata: Mapping[str, Any]
    mapped: bool
    """Whether tensors stored as float32 are shared between processes (see ``weightfiles.read``)."""


@dataclass(frozen=True)
class Report:
    """A file that would be loaded, described."""

    row: WeightsRow
    path: Path
    size: int
    """Bytes."""
    sha256: str
    standing: str
    """How the hash compares with what is known, in words."""
    mapped: bool
    """See ``Weights.mapped``."""
    metadata: Mapping[str, Any]
    """What a checkpoint of ours says of its making."""


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to predict, and how to feed it."""

    network: nn.Module
    """In evaluation mode, without gradients."""
    row: WeightsRow
    """Name, architecture, crop rule, default threshold, licence."""
    path: Path
    metadata: Mapping[str, Any]


def load(
    name_or_path: str,
    *,
    weights_dir: Path,
    sha256: str | None = None,
    device: torch.device | str = "cpu",
) -> LoadedModel:
    """Build a network and give it its weights.

    On the CPU the parameters are views of the mapped file where it allows that, so several
    processes with the same model hold its float32 weights in memory once.

    Args:
        name_or_path: a name of ``iog.models.registry`` or a path.
        weights_dir: the folder that names are looked up in.
        sha256: refuse any file but the one with this hash (``IOG_WEIGHTS_SHA256``).
        device: where the parameters go.

    Raises:
        WeightsError: the file is missing, unreadable, of another network or not the one asked for.
    """
    weights = open_weights(name_or_path, weights_dir=weights_dir, sha256=sha256)
    with torch.device("meta"):
        network = build_network(weights.row.architecture)
    network.load_state_dict(weights.state, strict=True, assign=True)
    network.eval().requires_grad_(False).to(device)
    return LoadedModel(network, weights.row, weights.path, weights.metadata)


def open_weights(name_or_path: str, *, weights_dir: Path, sha256: str | None = None) -> Weights:
    """Find, read and check a file of weights without building its network; see ``load``."""
    row, path = resolve(name_or_path, weights_dir=weights_dir)
    return inspect(path, row=row, sha256=sha256)


def inspect(path: Path, *, row: WeightsRow | None, sha256: str | None = None) -> Weights:
    """Read and check one file.

    Args:
        path: the file.
        row: the table's row that it has to be; None for a file of the user's own. A checkpoint
            of ours says itself what it is; a plain state dict is recognised by its keys and
            shapes, and is fed like the first model of the table with that network.
        sha256: refuse any file but the one with this hash.

    Raises:
        WeightsError: the file cannot be read, or is not what it has to be.
    """
    digest = check_identity(path, row=row, sha256=sha256)
    content, mapped = read(path)
    metadata: Mapping[str, Any] = {}
    if _is_ours(content):
        checkpoint = _parse(content, path=path)
        row = row or own_row(path, architecture=checkpoint.architecture)
        if checkpoint.architecture == row.architecture:
            row = replace(row, crop=checkpoint.crop, threshold=checkpoint.threshold)
        state, metadata = checkpoint.state, checkpoint.metadata
    else:
        state = _plain_state(content, path=path)
        row = row or own_row(path, architecture=closest(state))
    misfit = find_misfit(state, row.architecture)
    if misfit:
        raise _refusal(misfit, state=state, row=row, path=path)
    return Weights(row, path, digest, complete(state, row.architecture), metadata, mapped)


def verify(name_or_path: str, *, weights_dir: Path, sha256: str | None = None) -> Report:
    """Check a file of weights as loading it would, and hash it in any case.

    Raises:
        WeightsError: as ``load``.
    """
    weights = open_weights(name_or_path, weights_dir=weights_dir, sha256=sha256)
    row, digest = weights.row, weights.sha256 or sha256_of(weights.path)
    if sha256 is not None:
        standing = "is the file IOG_WEIGHTS_SHA256 asks for"
    elif row.sha256 is None:
        standing = "no hash is known to compare with"
    elif digest != row.sha256:
        standing = "differs from the public copy that is known, which nobody has confirmed"
    else:
        standing = _STANDINGS[row.published, row.sha256_confirmed]
    size = weights.path.stat().st_size
    return Report(row, weights.path, size, digest, standing, weights.mapped, weights.metadata)


def save(
    path: Path,
    network_state: Mapping[str, Tensor],
    *,
    architecture: str,
    crop: CropRule,
    threshold: float,
    metadata: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a self-describing checkpoint, complete or not at all.

    Args:
        path: where to; missing folders are made.
        network_state: the state dict of a network of ``architecture``, on any device.
        architecture: a key of ``networks.ARCHITECTURES``.
        crop: how the network was trained to be fed.
        threshold: default cut through the probabilities, between 0 and 1.
        metadata: JSON values: training data, configuration, metrics, commit.
        training: what resuming needs; tensors, numbers, strings, lists and dicts of them.
        dtype: how floating-point tensors are stored; float16 halves the file, and is cast back
            to float32 on loading.

    Raises:
        WeightsError: the state does not fit the architecture, or has values that are not finite
            in ``dtype``.
        ValueError, TypeError: the architecture is unknown, the threshold no probability, or the
            metadata not JSON.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold} is not a probability between 0 and 1")
    misfit = find_misfit(network_state, architecture)
    if misfit:
        raise WeightsError(f"The network to save is no {architecture} ({misfit}).")
    stored = {}
    for key, value in network_state.items():
        tensor = value.detach().cpu()
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if not tensor.isfinite().all():
            raise WeightsError(f"{key} has values that are not finite, stored as {tensor.dtype}.")
        # A view of a larger tensor would take all of that tensor into the file.
        stored[key] = tensor.contiguous().clone()
    content = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": architecture,
        "crop": asdict(crop),
        "threshold": float(threshold),
        "metadata": json.loads(json.dumps(metadata, allow_nan=False)),
        "state_dict": stored,
    }
    if training is not None:
        content["training"] = dict(training)
    with writing(path) as file:
        torch.save(content, file)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read back all that ``save`` wrote, the part for resuming a training included.

    Raises:
        WeightsError: the file cannot be read, or ``save`` did not write it.
    """
    content, _ = read(path)
    if not _is_ours(content):
        raise WeightsError(f"{path} is not a checkpoint of this project.")
    return _parse(content, path=path)


def _is_ours(content: object) -> bool:
    return isinstance(content, dict) and content.get("format") == FORMAT


def _parse(content: Any, *, path: Path) -> Checkpoint:  # noqa: ANN401 - any file may be given
    if content.get("version") not in (1, VERSION):
        raise WeightsError(
            f"{path} is a checkpoint of version {content.get('version')!r}, and this program "
            f"reads versions 1 and {VERSION}: use the release that wrote it, or a newer one."
        )
    architecture = content.get("architecture")
    crop, threshold = content.get("crop"), content.get("threshold")
    crop = crop_fields(crop) if isinstance(crop, dict) else crop
    valid = (
        isinstance(architecture, str)
        and architecture in ARCHITECTURES
        and _is_crop(crop)
        and isinstance(threshold, float)
        and 0 < threshold < 1
        and isinstance(content.get("metadata"), dict)
        and isinstance(content.get("training", {}), dict)
    )
    if not valid:
        raise WeightsError(
            f"{path} says it is a checkpoint of this project, but its architecture, crop rule, "
            "threshold or metadata are missing or not understood: save it again."
        )
    return Checkpoint(
        architecture=architecture,
        crop=CropRule(**crop),
        threshold=threshold,
        metadata=content["metadata"],
        state=_plain_state(content.get("state_dict"), path=path),
        training=content.get("training", {}),
    )


def _plain_state(content: object, *, path: Path) -> Mapping[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not named tensors: save "
            "network.state_dict()."
        )
    strange = [k for k, v in content.items() if not (isinstance(k, str) and torch.is_tensor(v))]
    if strange:
        raise WeightsError(
            f"{path} is neither a plain state dict nor a checkpoint of this project: "
            f"{strange[0]!r} is no tensor; save network.state_dict() alone."
        )
    return content


def _is_crop(crop: object) -> bool:
    """Whether ``crop`` has exactly the fields of a CropRule, each with a value it may have."""
    kinds = {bool: (bool,), int: (int,), float: (int, float)}
    wanted = {field.name: kinds[type(field.default)] for field in fields(CropRule)}
    if not (
        isinstance(crop, dict)
        and crop.keys() == wanted.keys()
        and all(type(value) in wanted[name] for name, value in crop.items())
    ):
        return False
    try:
        CropRule(**crop)
    except ValueError:
        return False
    return True


def _refusal(
    misfit: str, *, state: Mapping[str, Tensor], row: WeightsRow, path: Path
) -> WeightsError:
    other = closest(state)
    if other != row.architecture and not find_misfit(state, other):
        advice = f"it holds {other}: ask for a model of that network, or for the file by its path"
    elif row.published:
        advice = f"get the right file with `iog weights fetch {row.name} [--from FILE|URL]`"
    else:
        advice = f"give a file of one of {', '.join(ARCHITECTURES)}"
    return WeightsError(f"{path} is no {row.architecture} ({misfit}); {advice}.")
