"""The engine that runs exported models with OpenVINO, on the CPU and without torch.

This is the one place that imports OpenVINO: without its telemetry, and with one core of it. Alone,
`import openvino` looks up Google Analytics, starts a thread and writes `~/intel` wherever the
package openvino-telemetry is installed, and pip installs the two together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iog.engines.engine import DECODER, ENCODER, FP32, OPENVINO_PRECISIONS, read_manifest
from iog.errors import SettingsError
from iog.models.spec import ModelSpec

# None makes Python refuse the import, and OpenVINO then takes the stub that it has for that case.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["CORE", "OpenVINOEngine", "openvino"]

CORE: Final = openvino.Core()
"""The only core of the process, which lives as long as that.

Each core gives its thread another stack for signals, and frees it with itself. When two cores go in
the order they came in, the second puts the freed stack of the first back in place, and the next
signal that Python handles (Ctrl-C, a worker of a data loader that ends) is a segmentation fault.
"""

OpenVINOCrop = tuple[openvino.Tensor, ...]
"""What the encoder put out: the decoder's inputs, or the probability [1, 1, S, S]."""


class OpenVINOEngine:
    """Runs an exported model on the CPU.

    Threads are not pinned to cores: several workers would be pinned to the same ones.

    Args:
        folder: an export of the model.
        spec: the model; crop rule and threshold become those of the export.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads; None leaves it to OpenVINO.

    Raises:
        SettingsError: the CPU does not have the precision.
        WeightsError: the export does not describe itself.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self, folder: Path, spec: ModelSpec, *, precision: str = "fp32", threads: int | None = None
    ) -> None:
        if precision == "bf16" and "BF16" not in CORE.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise SettingsError(
                "The precision is 'bf16' (IOG_PRECISION), but this CPU has no instructions for it; "
                "set it to fp32."
            )
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads

        manifest = read_manifest(folder)
        self.spec = spec.described_by(manifest, where=folder, kind="openvino")
        self.precision = precision
        clicks = DECODER in manifest["files"]
        if precision == "fp32" and f"{FP32}/{ENCODER}" in manifest["files"]:
            folder = folder / FP32

        def request(name: str) -> openvino.InferRequest:
            model = CORE.read_model(folder / name)  # by path, which maps the weights
            if clicks:
                model = _plain_features(model, OPENVINO_PRECISIONS[precision])
            return CORE.compile_model(model, "CPU", options).create_infer_request()

        self._encoder = request(ENCODER)
        self._decoder = request(DECODER) if clicks else None

    @property
    def has_click_branch(self) -> bool:
        """Whether the model has a decoder for clicks."""
        return self._decoder is not None

    @property
    def click_maps(self) -> int:
        """Maps that ``decode`` takes; see ``Engine``."""
        return 2 if self._decoder is None else int(self._decoder.model_inputs[0].shape[1])

    def encode(self, x: NDArray[np.float32]) -> OpenVINOCrop:
        """Encode float32 [5, S, S]; see ``Engine``."""
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
        """Bytes that an encoded crop takes."""
        return sum(tensor.byte_size for tensor in encoded)


def _infer(
    request: openvino.InferRequest, maps: NDArray[np.float32], encoded: OpenVINOCrop
) -> None:
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
