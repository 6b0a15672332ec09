"""The engine that needs nothing but torch, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from iog.errors import SettingsError
from networks.inference import EncodedCrop, InferenceNetwork

__all__ = ["DTYPES", "TorchEngine", "choose_device", "choose_dtype"]

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WARM_UP_RUNS: Final = 3

_Function = Callable[..., tuple[torch.Tensor, ...]]


def choose_device(wanted: str) -> str:
    """``cuda`` where it is wanted or there is one, else ``cpu``.

    Raises:
        SettingsError: CUDA is wanted and not to be had.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise SettingsError(
            "IOG_DEVICE is 'cuda', but torch finds no CUDA device here; set it to cpu or auto, or "
            "give the container a GPU."
        )
    return "cpu"


def choose_dtype(precision: str, device: str) -> torch.dtype:
    """The type that parameters and features have.

    Raises:
        SettingsError: the device cannot calculate in it at a useful speed.
    """
    if precision == "fp16" and device != "cuda":
        raise SettingsError(
            "IOG_PRECISION is 'fp16', which only a CUDA device runs; set it to fp32 or bf16."
        )
    if precision == "bf16" and device == "cpu" and not _cpu_has_bf16():
        raise SettingsError(
            "IOG_PRECISION is 'bf16', but this CPU has no instructions for it (AVX-512); set it to "
            "fp32."
        )
    return DTYPES[precision]


def _cpu_has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class TorchEngine:
    """Eager torch on the CPU; captured graphs on CUDA.

    Inputs are channels-last, which selects the fast kernels. Parameters stay as they are:
    converting them would copy them out of the file that several workers share.

    Args:
        network: for predicting; its parameters decide the device and the precision.
    """

    name = "torch"

    def __init__(self, network: InferenceNetwork) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        self._graphs: dict[tuple[object, ...], _Graph] = {}

    @property
    def refines(self) -> bool:
        """True for the networks with a click branch."""
        return self._network.refines

    def encode(self, x: NDArray[np.float32]) -> EncodedCrop:
        """Encode float32 [5, S, S]; see ``Engine``."""
        with torch.inference_mode():
            return self._run("encode", self._network.encode, self._tensor(x))

    def decode(self, encoded: EncodedCrop, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S]; see ``Engine``."""
        with torch.inference_mode():
            if self.refines:
                encoded = self._run("decode", self._decode, self._tensor(clicks), *encoded)
            probability = torch.sigmoid(encoded[0].float())
        array: NDArray[np.float32] = probability[0, 0].cpu().numpy()
        return array

    def nbytes(self, encoded: EncodedCrop) -> int:
        """Memory that an encoded crop takes."""
        return sum(t.nbytes for t in encoded)

    def _decode(self, clicks: torch.Tensor, *encoded: torch.Tensor) -> tuple[torch.Tensor]:
        return (self._network.decode(encoded, clicks),)

    def _run(
        self, name: str, function: _Function, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if self._device.type != "cuda":
            return function(*inputs)
        # One graph for each frame: a model has one, and only tests use more.
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
