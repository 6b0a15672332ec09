"""The engine that runs fused networks with torch, on the CPU or a CUDA device.

Fusing gives every process parameters of its own. So the first process that fuses a file of weights
writes the result into the weights folder, and all processes map that file: its pages are in memory
once, however many workers there are. Where the folder cannot be written, each worker has its own
copy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from iog.errors import SettingsError, WeightsError
from iog.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from iog.models.files import check_hash, sha256_of
from iog.models.spec import ModelSpec
from networks import build_network
from networks.fused import EncodedCrop, FusedNetwork, fuse

__all__ = [
    "DTYPES",
    "TorchEngine",
    "choose_device",
    "choose_dtype",
    "load_fused",
    "start_torch",
]

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WARM_UP_RUNS: Final = 3
_WORTH_THREADS: Final = 10_000_000
"""Parameters. The layers of a smaller network take less time than it takes to wake a thread."""
_LOG: Final = logging.getLogger(__name__)

_Function = Callable[..., tuple[torch.Tensor, ...]]


def start_torch(
    spec: ModelSpec,
    *,
    weights_dir: Path,
    sha256: str | None,
    precision: str,
    device: str,
    threads: int,
) -> TorchEngine:
    """Load a model; for arguments and errors see ``start_engine``."""
    torch.set_num_threads(threads)
    place = choose_device(device)
    dtype = choose_dtype(precision, place)
    network, checkpoint = load_fused(
        spec,
        weights_dir=weights_dir,
        sha256=sha256,
        dtype=torch.float32 if place == "cuda" else dtype,
    )
    if place == "cpu" and sum(p.numel() for p in network.parameters()) < _WORTH_THREADS:
        threads = 1
    if place == "cuda":
        network = network.to(place).cast(dtype)
        if precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    return TorchEngine(network, checkpoint.spec, precision=precision, threads=threads)


def load_fused(
    spec: ModelSpec,
    *,
    weights_dir: Path,
    sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[FusedNetwork, Checkpoint]:
    """Load a model for predicting on the CPU, fused at most once on this machine.

    Args:
        spec: the model, with its path.
        weights_dir: fused weights are kept in its folder ``fused``.
        sha256: refuse any file but the one with this hash.
        dtype: what to calculate in; see ``FusedNetwork.cast``.

    Returns:
        The network, and the fused checkpoint that holds its parameters.

    Raises:
        WeightsError: see ``read_checkpoint``.
    """
    digest = check_hash(spec, sha256=sha256) or sha256_of(spec.file)
    kind = str(dtype).removeprefix("torch.")
    kept = weights_dir / "fused" / f"{spec.file.stem}-{digest[:16]}-{kind}.pt"
    found = _read_kept(kept, spec, digest, dtype)
    if found is not None:
        return found
    plain = read_checkpoint(spec)
    network = fuse(plain.network()).cast(dtype)
    made = Checkpoint(plain.spec, network.state_dict(), plain.metadata, fused_from=digest)
    if _keep(kept, made):
        return _read_kept(kept, spec, digest, dtype) or (network, made)
    return network, made


def _keep(kept: Path, made: Checkpoint) -> bool:
    """Write fused weights in place of older ones of the same name; False if that fails."""
    stem, _, kind = kept.stem.rsplit("-", 2)
    try:
        write_checkpoint(kept, made)
        for older in kept.parent.glob("*.pt"):
            if older != kept and older.stem.rsplit("-", 2)[::2] == [stem, kind]:
                older.unlink(missing_ok=True)  # a process that has it mapped keeps it
    except OSError as error:
        _LOG.info("Fused weights are not kept, each worker has its own: %s", error)
        return False
    return True


def _read_kept(
    kept: Path, spec: ModelSpec, digest: str, dtype: torch.dtype
) -> tuple[FusedNetwork, Checkpoint] | None:
    """What ``_keep`` wrote for these weights; None if there is nothing that can be used."""
    if not kept.is_file():
        return None
    try:
        checkpoint = read_checkpoint(replace(spec, path=kept, sha256=None), fused=True)
        if checkpoint.fused_from != digest:
            return None
        with torch.device("meta"):
            network = fuse(build_network(checkpoint.spec.architecture))
        network.load_state_dict(checkpoint.state, strict=True, assign=True)
    except (WeightsError, RuntimeError) as error:
        _LOG.warning("%s is not usable and will be made again: %s", kept.name, error)
        return None
    network.cast(dtype)
    return network.requires_grad_(False), replace(
        checkpoint, spec=replace(checkpoint.spec, path=spec.path, sha256=spec.sha256)
    )


def choose_device(wanted: str) -> str:
    """``cuda`` where it is wanted or there is one, else ``cpu``.

    Raises:
        SettingsError: CUDA is wanted, and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise SettingsError(
            "The device is 'cuda' (IOG_DEVICE), but torch finds no CUDA device here; set it to cpu "
            "or auto, or give the container a GPU."
        )
    return "cpu"


def choose_dtype(precision: str, device: str) -> torch.dtype:
    """The type that parameters and features have.

    Raises:
        SettingsError: the device cannot calculate in it at a useful speed.
    """
    if precision == "fp16" and device != "cuda":
        raise SettingsError(
            "The precision is 'fp16' (IOG_PRECISION), which only a CUDA device runs; set it to "
            "fp32 or bf16."
        )
    if precision == "bf16" and device == "cpu" and not _cpu_has_bf16():
        raise SettingsError(
            "The precision is 'bf16' (IOG_PRECISION), but this CPU has no instructions for it "
            "(AVX-512); set it to fp32."
        )
    return DTYPES[precision]


def _cpu_has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class TorchEngine:
    """Eager torch on the CPU; captured graphs on CUDA.

    Inputs are channels-last, which selects the fast kernels. Parameters stay as they are:
    converting them would copy them out of the file that several workers share.

    Args:
        network: its parameters decide the device.
        spec: the model.
        precision: what its parameters were cast to.
        threads: CPU threads of the whole process while it runs; None leaves them as they are.
    """

    name = "torch"

    def __init__(
        self,
        network: FusedNetwork,
        spec: ModelSpec,
        *,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        self.spec = spec
        self.precision = precision
        self._network = network
        self._device = next(network.parameters()).device
        self._threads = threads
        self._graphs: dict[tuple[object, ...], _Graph] = {}

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self._device.type

    @property
    def has_click_branch(self) -> bool:
        """True for the networks with a click branch."""
        return self._network.has_click_branch

    @property
    def click_maps(self) -> int:
        """Maps that ``decode`` takes; see ``Engine``."""
        return self._network.click_maps

    def encode(self, x: NDArray[np.float32]) -> EncodedCrop:
        """Encode float32 [5, S, S]; see ``Engine``."""
        with torch.inference_mode():
            return self._run("encode", self._network.encode, self._tensor(x))

    def decode(self, encoded: EncodedCrop, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S]; see ``Engine``."""
        with torch.inference_mode():
            if self.has_click_branch:
                encoded = self._run("decode", self._decode, self._tensor(clicks), *encoded)
            probability = torch.sigmoid(encoded[0].float())
        array: NDArray[np.float32] = probability[0, 0].cpu().numpy()
        return array

    def nbytes(self, encoded: EncodedCrop) -> int:
        """Bytes that an encoded crop takes."""
        return sum(t.nbytes for t in encoded)

    def _decode(self, clicks: torch.Tensor, *encoded: torch.Tensor) -> tuple[torch.Tensor]:
        return (self._network.decode(encoded, clicks),)

    def _run(
        self, name: str, function: _Function, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if self._device.type != "cuda":
            # Another model of this process may have others.
            if self._threads not in (None, torch.get_num_threads()):
                torch.set_num_threads(self._threads)
            return function(*inputs)
        # One graph for each input size: a model has one, and only tests use more.
        key = (name, *(tuple(t.shape) for t in inputs))
        if key not in self._graphs:
            self._graphs[key] = _Graph(function, inputs)
        return self._graphs[key](*inputs)

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(array))[None]
        return batch.to(self._device).contiguous(memory_format=torch.channels_last)


class _Graph:
    """A function of tensors, recorded once on CUDA and replayed without Python or launch costs."""

    def __init__(self, function: _Function, inputs: tuple[torch.Tensor, ...]) -> None:
        self._inputs = tuple(t.clone(memory_format=torch.preserve_format) for t in inputs)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):  # chooses algorithms and allocates work space
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = function(*self._inputs)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._graph.replay()
        # The next replay overwrites the outputs, and encoded crops are kept.
        return tuple(t.clone(memory_format=torch.preserve_format) for t in self._outputs)
