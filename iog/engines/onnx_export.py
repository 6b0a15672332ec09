"""Writing models as ONNX files, for those who run them with something else than this package.

    FOLDER/NAME/encoder.onnx    input [N, 5, S, S] -> the features, or the probability
    FOLDER/NAME/decoder.onnx    clicks [N, C, S, S] and the features -> probability [N, 1, S, S];
                                with a click branch only

Inputs, outputs and the properties of both files are in ``docs/models.md``. Nothing here runs such a
file to answer a request.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.export import Dim

from iog.engines.export import (
    Crops,
    DecoderHalf,
    EncoderHalf,
    made_up,
    parity,
    replacing,
    with_previous,
)
from iog.engines.torch_engine import TorchEngine, load_fused
from iog.errors import SettingsError
from iog.models.spec import ModelSpec, resolve
from networks.decoder import BINS
from networks.fused import FusedNetwork

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["FEATURES", "ONNX_FOLDER", "compare_onnx", "export_onnx"]

ONNX_FOLDER: Final = "onnx"
"""Name of the folder of ONNX files in the weights folder."""
FEATURES: Final = (
    "branch",
    "shortcut",
    "stride8",
    "stride16",
    "direct",
    *(f"pooled{bins}" for bins in BINS),
)
"""Names of what the encoder hands to the decoder; see ``networks.fused.EncodedCrop``."""

_OPSET: Final = 18
"""What torch's exporter writes without converting. ONNX Runtime reads it since 1.14."""
_NEEDED: Final = ("onnx", "onnxscript")


def export_onnx(
    model: str | ModelSpec,
    *,
    weights_dir: Path,
    output: Path | None = None,
    sha256: str | None = None,
    crops: Callable[[ModelSpec], Crops] | None = None,
    threads: int | None = None,
) -> tuple[Path, dict[str, float] | None]:
    """Write the ONNX files of some weights, complete or not at all.

    Args:
        model: a name of ``iog.models.spec``, a path, or what ``resolve`` made of it.
        weights_dir: the folder that names are looked up in.
        output: the folder of exports; by default ``onnx`` in the weights folder.
        sha256: refuse any weights but those with this hash.
        crops: makes the inputs to compare on; by default they are made up.
        threads: CPU threads; None leaves them as they are.

    Returns:
        The export's folder, and how near it comes to torch (see ``iog.engines.export.parity``), or
        ``None`` where ONNX Runtime is not installed.

    Raises:
        WeightsError: the weights are missing or unusable.
        SettingsError: onnx or onnxscript, which write the files, are not installed.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise SettingsError(
            f"Writing ONNX files needs {' and '.join(missing)}: `pip install {' '.join(_NEEDED)}`."
        )
    if threads is not None:
        torch.set_num_threads(threads)
    spec = model if isinstance(model, ModelSpec) else resolve(model, weights_dir=weights_dir)
    network, checkpoint = load_fused(spec, weights_dir=weights_dir, sha256=sha256)
    spec = checkpoint.spec
    about = {
        **spec.description("onnx"),
        "name": spec.name,
        "licence": spec.licence,
        "weights_sha256": checkpoint.fused_from,
    }
    properties = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    folder = (weights_dir / ONNX_FOLDER if output is None else output) / Path(spec.filename).stem
    found = None
    with replacing(folder) as staged:
        staged.mkdir()
        _write(network, spec.crop.input_size, staged, properties)
        if find_spec("onnxruntime") is not None:
            found = compare_onnx(network, staged, spec, (crops or made_up)(spec), threads=threads)
    return folder, found


def compare_onnx(
    network: FusedNetwork,
    folder: Path,
    spec: ModelSpec,
    crops: Crops,
    *,
    threads: int | None = None,
) -> dict[str, float]:
    """How near ONNX Runtime's answers come to torch's in fp32; see ``iog.engines.export.parity``.

    Args:
        network: what was exported.
        folder: the export.
        spec: the model.
        crops: the inputs.
        threads: CPU threads; None leaves it to ONNX Runtime.
    """
    encoder, decoder = (
        _session(folder / name, threads) if (folder / name).exists() else None
        for name in ("encoder.onnx", "decoder.onnx")
    )
    assert encoder is not None
    reference = TorchEngine(network, spec)
    wanted, answers = [], []
    for x, clicks in with_previous(reference, crops):
        wanted.append(reference.decode(reference.encode(x), clicks))
        outputs = encoder.run(None, {"input": x[None]})
        if decoder is not None:
            inputs = {"clicks": clicks[None], **dict(zip(FEATURES, outputs, strict=True))}
            outputs = decoder.run(None, inputs)
        answers.append(outputs[0][0, 0])
    return parity(wanted, answers, spec.threshold)


def _session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    # From 1.29 on, ONNX Runtime sends usage data unless it is told not to before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write(network: FusedNetwork, side: int, folder: Path, properties: Mapping[str, str]) -> None:
    """Write both halves of a network, for any number of inputs of ``side`` pixels."""
    # With a batch of one, torch would take the batch for a constant.
    x = torch.zeros(2, 5, side, side)
    with torch.inference_mode():
        found = network.encode(x)  # fills the caches, whose content becomes constants
    names = FEATURES if network.clicks is not None else ("probability",)
    _write_half(EncoderHalf(network), ("input",), (x,), names, folder / "encoder.onnx", properties)
    if network.clicks is None:
        return
    clicks = torch.zeros(2, network.click_maps, side, side)
    with torch.inference_mode():
        network.decode(found, clicks)
    _write_half(
        DecoderHalf(network),
        ("clicks", *FEATURES),
        (clicks, *found),
        ("probability",),
        folder / "decoder.onnx",
        properties,
    )


def _write_half(
    half: nn.Module,
    inputs: Sequence[str],
    example: tuple[Tensor, ...],
    outputs: Sequence[str],
    path: Path,
    properties: Mapping[str, str],
) -> None:
    batch: Any = {0: Dim("batch")}
    first, *rest = [batch] * len(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts, and that axes share a name
        program = torch.onnx.export(
            half.eval(),
            example,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(first, tuple(rest)) if rest else (first,),
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # stack traces, with the paths of this machine
    program.model.metadata_props.update(properties)
    program.save(path, external_data=False)
