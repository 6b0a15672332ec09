"""The engine that runs exported models with OpenVINO, on the CPU and without torch."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from errors import SettingsError
from networks.exports import DECODER, ENCODER, Export

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

__all__ = ["HINTS", "OpenVINOEngine", "is_installed"]

HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
"""Our precisions and OpenVINO's names for them. It is always told one: left to itself it takes
bf16 wherever the CPU has it, and the same file answers differently on different machines."""

OpenVINOCrop = tuple[NDArray[np.float32], ...]
"""What the encoder put out: the decoder's inputs, or the probability [1, 1, S, S]."""


def is_installed() -> bool:
    """Whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVINOEngine:
    """Runs an exported model on the CPU.

    Threads are not pinned to cores: several workers would be pinned to the same ones.

    Args:
        export: the model.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads; None leaves it to OpenVINO.

    Raises:
        SettingsError: the precision is not to be had on this CPU.
    """

    name = "openvino"

    def __init__(
        self, export: Export, *, precision: str = "fp32", threads: int | None = None
    ) -> None:
        from openvino import Core

        core = Core()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise SettingsError(
                "IOG_PRECISION is 'bf16', but this CPU has no instructions for it; set it to fp32."
            )
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads

        def request(name: str) -> InferRequest:
            # Reading by path maps the weights.
            model: CompiledModel = core.compile_model(export.folder / name, "CPU", options)
            return model.create_infer_request()

        self._encoder = request(ENCODER)
        self._decoder = request(DECODER) if export.refines else None

    @property
    def refines(self) -> bool:
        """Whether the model has a decoder for clicks."""
        return self._decoder is not None

    def encode(self, x: NDArray[np.float32]) -> OpenVINOCrop:
        """Encode float32 [5, S, S]; see ``Engine``."""
        return _infer(self._encoder, x[None])

    def decode(self, encoded: OpenVINOCrop, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S]; see ``Engine``."""
        if self._decoder is not None:
            encoded = _infer(self._decoder, clicks[None], *encoded)
        probability: NDArray[np.float32] = encoded[0][0, 0]
        return probability

    def nbytes(self, encoded: OpenVINOCrop) -> int:
        """Memory that an encoded crop takes."""
        return sum(array.nbytes for array in encoded)


def _infer(request: InferRequest, *inputs: NDArray[np.float32]) -> OpenVINOCrop:
    """Outputs as arrays of their own: the request's are overwritten by the next inference."""
    found = request.infer(
        {number: np.ascontiguousarray(array) for number, array in enumerate(inputs)},
        share_inputs=True,
    )
    return tuple(np.array(value) for value in found.values())
