"""Writing models for OpenVINO, and comparing what they answer with torch.

    python -m iog.engines.exporting NAME WEIGHTS_DIR THREADS

The module can be run so that a server makes what it lacks in a process of its own, and never has
torch in its memory.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dataloaders.geometry import CropRule
from iog.engines.exports import DECODER, ENCODER, FOLDER, FP32, Export, find_export, write_manifest
from iog.engines.folded import load_form
from iog.engines.openvino_engine import HINTS, OpenVINOEngine, is_installed
from iog.engines.precise import keep_full_precision
from iog.engines.torch_engine import TorchEngine
from iog.errors import SettingsError
from networks.inference import InferenceNetwork
from networks.winograd import with_winograd

__all__ = ["Crops", "Parity", "compare", "export"]

Crops = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Inputs of a network: [5, S, S] with the first maps, and [2, S, S] of all clicks, 0..255."""

_LEAST: Final = 1e-6


@dataclass(frozen=True)
class Parity:
    """How near an engine comes to torch in fp32, over some crops."""

    crops: int
    probability: float
    """Largest difference of a probability."""
    logit: float
    """Largest difference of a logit, where torch's probability is between 0.001 and 0.999."""
    iou: float
    """Mean IoU of the masks at the threshold of the weights."""
    worst_iou: float


class _Encoder(nn.Module):
    def __init__(self, network: InferenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.network.encode(x)
        return found if self.network.refines else (torch.sigmoid(found[0]),)


class _Decoder(nn.Module):
    def __init__(self, network: InferenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, clicks: Tensor, *crop: Tensor) -> Tensor:
        return torch.sigmoid(self.network.decode(crop, clicks))


def export(
    name_or_path: str,
    *,
    weights_dir: Path,
    output: Path | None = None,
    sha256: str | None = None,
    crops: Callable[[CropRule], Crops] | None = None,
    threads: int | None = None,
) -> Export:
    """Write the OpenVINO model of some weights, complete or not at all.

    Args:
        name_or_path: a name of ``iog.models.registry`` or a path.
        weights_dir: the folder that names are looked up in.
        output: the folder of exports; ``openvino`` in the weights folder when left out.
        sha256: refuse any weights but those with this hash.
        crops: makes the inputs to compare engines on; made-up ones when left out.
        threads: CPU threads; None leaves them as they are.

    Raises:
        WeightsError: the weights are missing or unusable.
        SettingsError: OpenVINO is not installed.
    """
    if not is_installed():
        raise SettingsError(
            "OpenVINO is not installed: `pip install --no-deps -r requirements.txt`."
        )
    if threads is not None:
        torch.set_num_threads(threads)
    form = load_form(name_or_path, weights_dir=weights_dir, sha256=sha256)
    network, row = form.network, form.row
    folder = (weights_dir / FOLDER if output is None else output) / Path(row.filename).stem
    folder.parent.mkdir(parents=True, exist_ok=True)
    inputs = (crops or _made_up)(row.crop)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
        staged = Path(made) / folder.name
        staged.mkdir()
        _convert(network, row.crop.input_size, staged)
        quick = with_winograd(network, row.crop.input_size)
        if quick is not None:
            (staged / FP32).mkdir()
            _convert(quick, row.crop.input_size, staged / FP32)
        new = Export(
            staged, row, form.sha256, network.refines, own_fp32=quick is not None, parity={}
        )
        new = replace(new, parity=compare(network, new, inputs, threads=threads))
        write_manifest(new)
        old = Path(made) / "old"
        if folder.exists():
            folder.rename(old)  # whoever has it mapped keeps it
        staged.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return replace(new, folder=folder)


def compare(
    network: InferenceNetwork, model: Export, crops: Crops, *, threads: int | None = None
) -> Mapping[str, Any]:
    """``Parity`` as JSON values for each precision that this CPU has."""
    reference = TorchEngine(network)
    wanted = [reference.decode(reference.encode(x), clicks) for x, clicks in crops]
    found: dict[str, Any] = {}
    for precision in HINTS:
        try:
            engine = OpenVINOEngine(model, precision=precision, threads=threads)
        except SettingsError:
            continue
        answers = [engine.decode(engine.encode(x), clicks) for x, clicks in crops]
        found[precision] = asdict(_parity(wanted, answers, model.row.threshold))
    return found


def _parity(
    wanted: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]], threshold: float
) -> Parity:
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
    return Parity(len(ious), probability, logit, float(np.mean(ious)), min(ious))


def _logit(p: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped = p.astype(np.float64).clip(_LEAST, 1 - _LEAST)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _convert(network: InferenceNetwork, side: int, folder: Path) -> None:
    from iog.engines.openvino_library import openvino

    x, clicks = torch.zeros(1, 5, side, side), torch.zeros(1, 2, side, side)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing fixes the sizes, which is what is wanted
        network(x, clicks)  # fills what is computed once, which then are constants of the trace
        encoder = openvino.convert_model(_Encoder(network), example_input=(x,), input=[x.shape])
        openvino.save_model(encoder, folder / ENCODER, compress_to_fp16=False)
        kept = [f"network.{name}" for name in network.full_precision]
        keep_full_precision(folder / ENCODER, kept)
        if network.refines:
            crop = network.encode(x)
            shapes = [tuple(t.shape) for t in (clicks, *crop)]
            decoder = openvino.convert_model(
                _Decoder(network), example_input=(clicks, *crop), input=shapes
            )
            openvino.save_model(decoder, folder / DECODER, compress_to_fp16=False)
            keep_full_precision(folder / DECODER, kept)


def _made_up(rule: CropRule) -> Crops:
    """Blobs of colour with a click in the middle and one beside it."""
    rng, side = np.random.default_rng(0), rule.input_size
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
    export(sys.argv[1], weights_dir=Path(sys.argv[2]), threads=int(sys.argv[3]))
    # A look at it, as a server would take it: what cannot be used must not pass for made.
    sys.exit(0 if find_export(sys.argv[1], weights_dir=Path(sys.argv[2]))[0] else 1)
