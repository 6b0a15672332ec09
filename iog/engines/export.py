"""Writing models for OpenVINO, and comparing their answers with torch's.

    python -m iog.engines.export NAME WEIGHTS_DIR THREADS

A server runs this module to make a missing export in another process, so that it never has torch in
its own memory.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iog.engines.engine import (
    DECODER,
    ENCODER,
    EXPORTS_FOLDER,
    FP32,
    MANIFEST,
    OPENVINO_PRECISIONS,
    find_export,
    openvino_is_installed,
)
from iog.engines.torch_engine import TorchEngine, load_fused
from iog.errors import SettingsError
from iog.models.spec import ModelSpec, resolve
from networks.fused import FusedNetwork
from networks.winograd import with_winograd

__all__ = [
    "Crops",
    "DecoderHalf",
    "EncoderHalf",
    "compare",
    "export",
    "made_up",
    "parity",
    "replacing",
    "with_previous",
]

Crops = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Inputs of a network: [5, S, S] with the first maps, and [2, S, S] of all clicks, 0..255."""

_LEAST: Final = 1e-6
# With the sums: OpenVINO joins them to convolutions, and compiles none of mixed precision.
_PRECISE: Final = ("Convolution", "GroupConvolution", "Add")


def export(
    model: str | ModelSpec,
    *,
    weights_dir: Path,
    output: Path | None = None,
    sha256: str | None = None,
    crops: Callable[[ModelSpec], Crops] | None = None,
    threads: int | None = None,
) -> Path:
    """Write the OpenVINO models of some weights, complete or not at all.

    Args:
        model: a name of ``iog.models.spec``, a path, or what ``resolve`` made of it.
        weights_dir: the folder that names are looked up in.
        output: the folder of exports; by default ``openvino`` in the weights folder.
        sha256: refuse any weights but those with this hash.
        crops: makes the inputs to compare engines on; by default they are made up.
        threads: CPU threads; None leaves them as they are.

    Returns:
        The export's folder. Its manifest has the ``parity`` of ``compare`` in its metadata.

    Raises:
        WeightsError: the weights are missing or unusable.
        SettingsError: OpenVINO is not installed.
    """
    if not openvino_is_installed():
        raise SettingsError(
            "OpenVINO is not installed: `pip install --no-deps -r requirements.txt`."
        )
    if threads is not None:
        torch.set_num_threads(threads)
    spec = model if isinstance(model, ModelSpec) else resolve(model, weights_dir=weights_dir)
    network, checkpoint = load_fused(spec, weights_dir=weights_dir, sha256=sha256)
    spec = checkpoint.spec
    folder = (weights_dir / EXPORTS_FOLDER if output is None else output) / Path(spec.filename).stem
    with replacing(folder) as staged:
        _convert(network, spec.crop.input_size, staged)
        quick = with_winograd(network, spec.crop.input_size)
        if quick is not None:
            _convert(quick, spec.crop.input_size, staged / FP32)
        files = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file())
        manifest = {
            **spec.description("openvino"),
            "metadata": dict(checkpoint.metadata),
            "weights_sha256": checkpoint.fused_from,
            "files": files,
        }
        _write_manifest(staged, manifest)  # for the engine, which compare starts
        inputs = (crops or made_up)(spec)
        manifest["metadata"]["parity"] = compare(network, staged, spec, inputs, threads=threads)
        _write_manifest(staged, manifest)
    return folder


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Where to make a folder that takes the place of ``folder`` once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
        staged, old = Path(made) / folder.name, Path(made) / "old"
        yield staged
        if folder.exists():
            folder.rename(old)  # a process that has it mapped keeps it
        staged.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def compare(
    network: FusedNetwork,
    folder: Path,
    spec: ModelSpec,
    crops: Crops,
    *,
    threads: int | None = None,
) -> dict[str, dict[str, float]]:
    """How near an export comes to torch in fp32, for each precision that this CPU has.

    Returns:
        For each precision what ``parity`` says.
    """
    from iog.engines.openvino_engine import OpenVINOEngine

    reference = TorchEngine(network, spec)
    crops = with_previous(reference, crops)
    wanted = [reference.decode(reference.encode(x), clicks) for x, clicks in crops]
    found = {}
    for precision in OPENVINO_PRECISIONS:
        try:
            engine = OpenVINOEngine(folder, spec, precision=precision, threads=threads)
        except SettingsError:
            continue
        answers = [engine.decode(engine.encode(x), clicks) for x, clicks in crops]
        found[precision] = parity(wanted, answers, spec.threshold)
    return found


def parity(
    wanted: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]], threshold: float
) -> dict[str, float]:
    """How near probabilities [S, S] come to the ones wanted.

    Returns:
        The number of ``crops``; the largest difference of a ``probability``; that of a ``logit``
        where the wanted probability is between 0.001 and 0.999; the mean ``iou`` of the masks at
        the threshold, and the ``worst_iou``.
    """
    probability = logit = 0.0
    ious = []
    for a, b in zip(wanted, found, strict=True):
        probability = max(probability, float(np.abs(a - b).max()))
        sure = (a > 0.001) & (a < 0.999)
        if sure.any():
            logit = max(logit, float(np.abs(_logit(a[sure]) - _logit(b[sure])).max()))
        one, other = a > threshold, b > threshold
        union = int((one | other).sum())
        ious.append(int((one & other).sum()) / union if union else 1.0)
    return {
        "crops": len(ious),
        "probability": probability,
        "logit": logit,
        "iou": float(np.mean(ious)),
        "worst_iou": min(ious),
    }


def _logit(p: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped = p.astype(np.float64).clip(_LEAST, 1 - _LEAST)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


class EncoderHalf(nn.Module):
    """``encode`` as a module of its own; without a click branch it gives the probability."""

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See ``FusedNetwork.encode``."""
        found = self.network.encode(x)
        return found if self.network.has_click_branch else (torch.sigmoid(found[0]),)


class DecoderHalf(nn.Module):
    """``decode`` as a module of its own, up to the probability."""

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, clicks: Tensor, *crop: Tensor) -> Tensor:
        """See ``FusedNetwork.decode``."""
        return torch.sigmoid(self.network.decode(crop, clicks))


def _write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def _convert(network: FusedNetwork, side: int, folder: Path) -> None:
    """Write both halves of a network, for inputs of ``side`` pixels."""
    from iog.engines.openvino_engine import openvino

    folder.mkdir()
    x, clicks = torch.zeros(1, 5, side, side), torch.zeros(1, network.click_maps, side, side)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing fixes the sizes, as it should
        network(x, clicks)  # fills the caches, whose content becomes constants of the trace
        encoder = openvino.convert_model(EncoderHalf(network), example_input=(x,), input=[x.shape])
        openvino.save_model(encoder, folder / ENCODER, compress_to_fp16=False)
        kept = [f"network.{name}" for name in network.full_precision]
        _keep_full_precision(folder / ENCODER, kept)
        if network.has_click_branch:
            crop = network.encode(x)
            shapes = [tuple(t.shape) for t in (clicks, *crop)]
            decoder = openvino.convert_model(
                DecoderHalf(network), example_input=(clicks, *crop), input=shapes
            )
            openvino.save_model(decoder, folder / DECODER, compress_to_fp16=False)
            _keep_full_precision(folder / DECODER, kept)


def _keep_full_precision(model: Path, modules: Sequence[str]) -> None:
    """Mark convolutions and sums of an OpenVINO file that calculate in float32 at every precision.

    OpenVINO reads and writes the mark as a runtime attribute, but offers no way to set it from
    Python. So it is written into the file.

    Args:
        model: an ``.xml`` that was converted from torch; changed in place.
        modules: dotted names of torch modules; whatever they contain is marked, too.
    """
    tree = ElementTree.parse(model)
    starts = tuple(f"__module.{module}{end}" for module in modules for end in "./")
    for layer in tree.iter("layer"):
        if layer.get("type") in _PRECISE and layer.get("name", "").startswith(starts):
            information = layer.find("rt_info")
            if information is None:
                information = ElementTree.Element("rt_info")
                layer.insert(1, information)  # after <data>, where OpenVINO writes it
            ElementTree.SubElement(information, "attribute", {"name": "precise", "version": "0"})
    tree.write(model, encoding="utf-8", xml_declaration=True)


def with_previous(engine: TorchEngine, crops: Crops) -> Crops:
    """The same crops with the third map, where the model reads one.

    As the predictor does: nothing with the first click, and its mask with later ones.
    """
    if engine.click_maps == 2:
        return crops
    found = []
    for x, clicks in crops:
        previous = np.zeros_like(clicks[:1])
        if not np.array_equal(x[3:], clicks):
            first = engine.decode(engine.encode(x), np.concatenate([x[3:], previous]))
            previous = first[None] * np.float32(255)
        found.append((x, np.concatenate([clicks, previous])))
    return found


def made_up(spec: ModelSpec) -> Crops:
    """Blobs of colour with a click in the middle and a background click, to compare engines on."""
    rng, side = np.random.default_rng(0), spec.crop.input_size
    yy, xx = np.mgrid[:side, :side] / side
    crops = []
    for _ in range(3):
        x0, y0, radius = rng.uniform(0.35, 0.65, 3) * (1, 1, 0.6)
        distance = np.hypot(xx - x0, yy - y0)
        colour = rng.uniform(0, 255, (2, 3, 1, 1))
        image = np.where(distance < radius, colour[0], colour[1]) + rng.normal(
            0, 8, (3, side, side)
        )
        inside = 255 * np.exp(-((distance * side / 7) ** 2))
        outside = 255 * np.exp(-((np.hypot(xx - 0.1, yy - 0.1) * side / 7) ** 2))
        x = np.concatenate([image.clip(0, 255), inside[None], outside[None]]).astype(np.float32)
        crops.append((x, x[3:]))
    return crops


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    export(sys.argv[1], weights_dir=folder, threads=int(sys.argv[3]))
    # A server finds an export in this way. If it cannot use this one, the export has failed.
    found, _ = find_export(resolve(sys.argv[1], weights_dir=folder), weights_dir=folder)
    sys.exit(found is None)
