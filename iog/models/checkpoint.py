"""Read the weights of any supported file, and write checkpoints of our own.

Three kinds of PyTorch file are read, as zip archives (since PyTorch 1.6) and in the older form:

* a plain state dict, such as the published files, with or without the ``num_batches_tracked``
  counters that PyTorch before 0.4.1 did not write;
* a checkpoint of ``write_checkpoint``, which describes itself (``ModelSpec.description``):
  ``{"format": "iog", "version": 3, "kind", "architecture", "crop", "threshold", "metadata",
  "state_dict"}``, and with ``"training"`` where a run can go on from it;
* the same of kind ``fused`` with ``"weights_sha256"``, which engines keep to share between workers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from iog.errors import WeightsError
from iog.models.files import check_hash, read_torch, writing
from iog.models.spec import REGISTRY, Kind, ModelSpec, own_spec
from networks import ARCHITECTURES, build_network

__all__ = ["Checkpoint", "install", "read_checkpoint", "write_checkpoint"]

_COUNTER: Final = "num_batches_tracked"
"""Ends the keys of BatchNorm's step counters, which no prediction uses and old files lack."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASELINES: Final = ("box", "ellipse", "grabcut")
"""Names that mean something else to `iog evaluate --model`."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights."""

    spec: ModelSpec
    """What the model is, with the crop rule and the threshold that the file states."""
    state: Mapping[str, Tensor]
    """All keys of the network's state dict, in its order and dtypes: of the trained network, or of
    the fused one."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: training data, configuration, metrics, commit."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What resuming needs (optimiser, step, ...): tensors, numbers, strings, lists and dicts of
    them. Empty in a checkpoint for serving."""
    fused_from: str | None = None
    """The hash of the file that a fused checkpoint was made from; None for a trained network."""
    mapped: bool = False
    """Whether the tensors that the file stores in their dtype are pages of it, which all processes
    with the file share."""

    def network(self) -> nn.Module:
        """The trained network with these weights, in evaluation mode and without gradients.

        The parameters are the checkpoint's tensors, not copies.
        """
        with torch.device("meta"):
            network = build_network(self.spec.architecture)
        network.load_state_dict(self.state, strict=True, assign=True)
        return network.eval().requires_grad_(False)


def read_checkpoint(
    source: ModelSpec | Path, *, sha256: str | None = None, fused: bool = False
) -> Checkpoint:
    """Read and check a file of weights.

    A checkpoint of ours says itself what it is. A plain state dict is recognised by its keys and
    shapes, and gets the crop rule and threshold of the first registered model with its network.

    Args:
        source: a model with its path, or the path of a file of your own.
        sha256: refuse any file but the one with this hash (``IOG_WEIGHTS_SHA256``).
        fused: whether the file has to hold a fused network. Its state is passed on as it is.

    Raises:
        WeightsError: the file is missing, unreadable, of another network or not the one asked for.
    """
    spec = own_spec(source) if isinstance(source, Path) else source
    path = spec.file
    check_hash(spec, sha256=sha256)
    content, mapped = read_torch(path)
    if not (isinstance(content, dict) and content.get("format") == "iog"):
        state = _tensors(content, path=path)
        if not spec.architecture:
            spec = own_spec(path, architecture=_closest(state))
        return Checkpoint(spec, _fitting(state, spec), mapped=mapped)
    kind: Kind = "fused" if fused else "plain"
    spec = spec.described_by(content, where=path, kind=kind)
    training = content.get("training", {})
    if not isinstance(training, dict):
        raise WeightsError(f"{path} holds a training that is no dict: save it again.")
    state = _tensors(content.get("state_dict"), path=path)
    return Checkpoint(
        spec,
        state if fused else _fitting(state, spec),
        metadata=content["metadata"],
        training=training,
        fused_from=content.get("weights_sha256"),
        mapped=mapped,
    )


def write_checkpoint(
    path: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a file of weights that describes itself, complete or not at all.

    Args:
        path: where to; missing folders are made.
        checkpoint: tensors may be on any device.
        dtype: how the floating-point tensors of a trained network are stored; float16 halves the
            file, and is cast to float32 on reading. A fused network keeps its dtypes.

    Raises:
        WeightsError: the state does not fit the architecture, or has values that are not finite
            in ``dtype``.
        ValueError, TypeError: the architecture is unknown, the threshold no probability, or the
            metadata not JSON.
    """
    spec, kind = checkpoint.spec, "fused" if checkpoint.fused_from else "plain"
    if not 0 < spec.threshold < 1:
        raise ValueError(f"threshold {spec.threshold} is not a probability between 0 and 1")
    stored = checkpoint.state
    if kind == "plain":
        if misfit := _find_misfit(checkpoint.state, spec.architecture):
            raise WeightsError(f"The network to save is no {spec.architecture} ({misfit}).")
        stored = {key: _stored(key, value, dtype) for key, value in checkpoint.state.items()}
    content = {
        **spec.description("fused" if checkpoint.fused_from else "plain"),
        "metadata": json.loads(json.dumps(checkpoint.metadata, allow_nan=False)),
        "state_dict": stored,
    }
    if checkpoint.fused_from:
        content["weights_sha256"] = checkpoint.fused_from
    if checkpoint.training:
        content["training"] = dict(checkpoint.training)
    with writing(path) as file:
        torch.save(content, file)


def install(path: Path, name: str, *, folder: Path, force: bool = False) -> Path:
    """Check a file of weights and write what serving needs of it as ``folder/NAME.pt``.

    The state of a training is left out. Parameters become float32 in a form that several workers
    share in memory, however they were stored.

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
    try:
        write_checkpoint(target, replace(read_checkpoint(path), training={}))
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}.") from error
    return target


def _check_name(name: str) -> None:
    taken = {part for s in REGISTRY.values() for part in (s.name, Path(s.filename).stem)}
    if name in taken or name in _BASELINES:
        raise WeightsError(f"{name!r} is the name of another model: choose another.")
    if not _NAME.fullmatch(name) or name.endswith((".pt", ".pth")):
        raise WeightsError(
            f"{name!r} is no name for weights: use up to 64 letters, digits, dots, dashes and "
            "underlines, without .pt at the end."
        )


def _stored(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = value.detach().cpu()
    tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if not tensor.isfinite().all():
        raise WeightsError(f"{key} has values that are not finite, stored as {tensor.dtype}.")
    # A view of a larger tensor would take all of that tensor into the file.
    return tensor.contiguous().clone()


def _tensors(content: object, *, path: Path) -> Mapping[str, Tensor]:
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


def _fitting(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The state with every key of the network, in its order and in its dtypes.

    Tensors that have the right dtype are passed on as they are, so views of a mapped file stay
    views. Missing counters become zero.

    Raises:
        WeightsError: the state does not fit the spec's network.
    """
    misfit = _find_misfit(state, spec.architecture)
    if not misfit:
        return {
            k: state[k].detach().to(want.dtype)
            if k in state
            else torch.zeros(want.shape, dtype=want.dtype)
            for k, want in _expected(spec.architecture).items()
        }
    other = _closest(state)
    if other != spec.architecture and not _find_misfit(state, other):
        advice = f"it holds {other}: ask for a model of that network, or for the file by its path"
    elif spec.published:
        advice = f"get the right file with `iog weights fetch {spec.name} [--from FILE|URL]`"
    else:
        advice = f"give a file of one of {', '.join(ARCHITECTURES)}"
    raise WeightsError(f"{spec.path} is no {spec.architecture} ({misfit}); {advice}.")


def _closest(state: Mapping[str, Tensor]) -> str:
    """The architecture of which the state has the largest part of the keys in the right shape."""

    def agreement(architecture: str) -> float:
        wanted = {k: v.shape for k, v in _expected(architecture).items() if _COUNTER not in k}
        found = sum(k in state and state[k].shape == shape for k, shape in wanted.items())
        return found / len(wanted)

    return max(ARCHITECTURES, key=agreement)


def _find_misfit(state: Mapping[str, Tensor], architecture: str) -> str:
    """What keeps the state from being loaded: how many keys of each kind, and the first of them.

    Returns:
        The empty string when it fits. Missing counters do no harm.
    """
    expected = _expected(architecture)
    kinds = {
        "missing": [k for k in expected if k not in state and not k.endswith(_COUNTER)],
        "unexpected": [k for k in state if k not in expected],
        "with a shape mismatch": [
            f"{k} {flaw}"
            for k, want in expected.items()
            if k in state and (flaw := _mismatch(state[k], want))
        ],
    }
    return "; ".join(f"{len(keys)} {kind}, first {keys[0]}" for kind, keys in kinds.items() if keys)


def _mismatch(have: Tensor, want: Tensor) -> str:
    if have.shape != want.shape:
        return f"{list(have.shape)} instead of {list(want.shape)}"
    if have.layout != torch.strided or have.is_floating_point() != want.is_floating_point():
        return f"{have.dtype} ({have.layout}) instead of {want.dtype}"
    return ""


@cache
def _expected(architecture: str) -> Mapping[str, Tensor]:
    """The network's state dict with tensors that have a shape and a dtype, but no values."""
    with torch.device("meta"):
        return build_network(architecture).state_dict()
