"""The engine that runs exported models with OpenVINO, on the CPU and without torch."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from iog.engines.exports import DECODER, ENCODER, Export
from iog.errors import SettingsError

if TYPE_CHECKING:
    from iog.engines.openvino_library import openvino

__all__ = ["HINTS", "OpenVINOEngine", "is_installed"]

HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
"""Our precisions and OpenVINO's names for them. It is always told one: left to itself it takes
bf16 wherever the CPU has it, and the same file answers differently on different machines."""

OpenVINOCrop = tuple["openvino.Tensor", ...]
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
        from iog.engines.openvino_library import CORE

        if precision == "bf16" and "BF16" not in CORE.get_property(
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

        def request(name: str) -> openvino.InferRequest:
            # Reading by path maps the weights.
            model = CORE.read_model(export.model(name, precision))
            if export.refines:
                model = _plain_features(model, HINTS[precision])
            return CORE.compile_model(model, "CPU", options).create_infer_request()

        self._encoder = request(ENCODER)
        self._decoder = request(DECODER) if export.refines else None

    @property
    def refines(self) -> bool:
        """Whether the model has a decoder for clicks."""
        return self._decoder is not None

    def encode(self, x: NDArray[np.float32]) -> OpenVINOCrop:
        """Encode float32 [5, S, S]; see ``Engine``."""
        from iog.engines.openvino_library import openvino

        # Tensors of its own for the outputs: the request's are overwritten by the next inference.
        outputs = tuple(
            openvino.Tensor(output.element_type, output.shape)
            for output in self._encoder.model_outputs
        )
        for number, tensor in enumerate(outputs):
            self._encoder.set_output_tensor(number, tensor)
        _infer(self._encoder, x, ())
        return outputs

    def decode(self, encoded: OpenVINOCrop, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S]; see ``Engine``."""
        found = encoded[0]
        if self._decoder is not None:
            _infer(self._decoder, clicks, encoded)
            found = self._decoder.get_output_tensor()
        probability: NDArray[np.float32] = found.data[0, 0].copy()
        return probability

    def nbytes(self, encoded: OpenVINOCrop) -> int:
        """Memory that an encoded crop takes."""
        return sum(tensor.byte_size for tensor in encoded)


def _infer(
    request: openvino.InferRequest, maps: NDArray[np.float32], encoded: OpenVINOCrop
) -> None:
    from iog.engines.openvino_library import openvino

    array = np.ascontiguousarray(maps[None])
    request.set_input_tensor(0, openvino.Tensor(array, shared_memory=True))
    for number, tensor in enumerate(encoded, start=1):
        request.set_input_tensor(number, tensor)
    request.infer()


def _plain_features(model: openvino.Model, kind: str) -> openvino.Model:
    """Hand features from encoder to decoder as both calculate them: channels last, not converted.

    Args:
        model: an encoder or a decoder; its first input, the maps, stays as it is, and so does the
            only output of a decoder.
        kind: element type of the features.
    """
    from iog.engines.openvino_library import openvino

    steps = openvino.preprocess.PrePostProcessor(model)
    features = [steps.input(number) for number in range(1, len(model.inputs))]
    if len(model.outputs) > 1:
        features = [steps.output(number) for number in range(len(model.outputs))]
    for each in features:
        each.model().set_layout(openvino.Layout("NCHW"))
        each.tensor().set_layout(openvino.Layout("NHWC")).set_element_type(
            getattr(openvino.Type, kind)
        )
    return steps.build()
