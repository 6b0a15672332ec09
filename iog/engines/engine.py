"""Engines: one interface to run a network, and the choice of what runs it.

An engine takes and returns NumPy arrays in the network frame. It encodes a crop once and decodes it
for every set of clicks. A network without a click branch does all its work in ``encode``.

    python -m iog.engines.engine NAME WEIGHTS_DIR    exit status 0 if an export can be used

An export is a folder that OpenVINO runs without torch; ``iog.engines.export`` writes it:

    FOLDER/NAME/model.json       its description, like a checkpoint's, with the hash of the weights
    FOLDER/NAME/encoder.xml .bin [1, 5, S, S] -> what the decoder starts from, or the probability
    FOLDER/NAME/decoder.xml .bin that and [1, C, S, S] -> [1, 1, S, S]; with a click branch only
    FOLDER/NAME/fp32/            the same for fp32, where it is another model (``winograd``)

An export made from other weights than the name stands for is stale, and not used.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, get_args

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from iog.errors import INSTALL_TORCH, INSTALL_TORCH_CUDA, SettingsError, WeightsError
from iog.models.files import check_hash, sha256_of
from iog.models.spec import BUNDLED_DIR, ModelSpec, resolve
from iog.settings import Device, Precision
from iog.settings import Engine as EngineName

__all__ = [
    "DECODER",
    "ENCODER",
    "EXPORTS_FOLDER",
    "FP32",
    "MANIFEST",
    "OPENVINO_PRECISIONS",
    "Encoded",
    "Engine",
    "find_export",
    "openvino_is_installed",
    "read_manifest",
    "start_engine",
]

EXPORTS_FOLDER: Final = "openvino"
"""Name of the folder of exports, beside the bundled weights and in the weights folder."""
MANIFEST: Final = "model.json"
ENCODER: Final = "encoder.xml"
DECODER: Final = "decoder.xml"
FP32: Final = "fp32"
"""Name of the folder of models for fp32 alone."""
OPENVINO_PRECISIONS: Final = {"fp32": "f32", "bf16": "bf16"}
"""Our precisions and OpenVINO's names for them. OpenVINO is always told one: left to itself it
takes bf16 wherever the CPU has it, and one file gives different answers on different machines."""

_LOG: Final = logging.getLogger(__name__)
_EXPORT_SECONDS: Final = 600
_GPUS: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))

Encoded = TypeVar("Encoded")
"""An encoded crop, which only its engine looks into."""


class Engine(Protocol[Encoded]):
    """Runs one network."""

    @property
    def spec(self) -> ModelSpec:
        """The model, with the crop rule and the threshold of its weights."""

    @property
    def name(self) -> str:
        """``torch`` or ``openvino``."""

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""

    @property
    def has_click_branch(self) -> bool:
        """Whether corrective clicks go to ``decode``; otherwise they belong into ``encode``."""

    @property
    def click_maps(self) -> int:
        """Maps that ``decode`` takes: 2, or 3 with the mask to correct."""

    def encode(self, x: NDArray[np.float32]) -> Encoded:
        """Encode float32 [5, S, S] (R, G, B, inside map, outside map, 0..255)."""

    def decode(self, encoded: Encoded, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S], 0..1, for clicks float32 [click_maps, S, S], 0..255."""

    def nbytes(self, encoded: Encoded) -> int:
        """Bytes that an encoded crop takes."""


def start_engine(
    model: str | ModelSpec,
    *,
    weights_dir: Path,
    sha256: str | None = None,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: int,
) -> Engine[Any]:
    """Load a model into an engine.

    ``auto`` takes OpenVINO where no GPU is to be used, OpenVINO is installed and the model was
    exported; otherwise torch. ``openvino`` exports the model first if need be, where torch is
    installed. Torch is imported only if it runs the model.

    Args:
        model: a name of ``iog.models.spec``, a path, or what ``resolve`` made of it.
        weights_dir: the folder that names are looked up in.
        sha256: refuse any weights but those with this hash.
        engine: ``auto``, ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads.

    Raises:
        SettingsError: the engine, device or precision cannot be had here.
        WeightsError: the weights are missing or unusable.
    """
    _check_choices(engine, precision, device)
    spec = model if isinstance(model, ModelSpec) else resolve(model, weights_dir=weights_dir)
    folder, no_export = None, None
    if engine == "openvino":
        _check_openvino(precision, device)
        folder = _exported(spec, weights_dir, sha256, threads)
    elif (
        engine == "auto"
        and precision in OPENVINO_PRECISIONS
        and openvino_is_installed()
        and not _gpu_wanted(device)
    ):
        folder, no_export = find_export(spec, weights_dir=weights_dir, sha256=sha256)
    if folder is not None:
        from iog.engines.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(folder, spec, precision=precision, threads=threads)
    if find_spec("torch") is None:
        raise SettingsError(_no_torch(spec, engine, precision, device, no_export))
    if no_export is not None:
        _LOG.info("torch runs the model, not OpenVINO: %s.", no_export)
    from iog.engines.torch_engine import start_torch

    return start_torch(
        spec,
        weights_dir=weights_dir,
        sha256=sha256,
        precision=precision,
        device=device,
        threads=threads,
    )


def _check_choices(engine: str, precision: str, device: str) -> None:
    choices = (("engine", engine, EngineName), ("precision", precision, Precision))
    for name, value, allowed in (*choices, ("device", device, Device)):
        if value not in (names := get_args(allowed)):
            raise SettingsError(f"{name} is {value!r}; it must be one of: {', '.join(names)}.")


def openvino_is_installed() -> bool:
    """Whether OpenVINO can be imported."""
    return find_spec("openvino") is not None


def find_export(
    spec: ModelSpec, *, weights_dir: Path, sha256: str | None = None
) -> tuple[Path | None, str]:
    """The folder of a model's export, or None and the reason why none can be used.

    Args:
        spec: the model, with its path.
        weights_dir: its folder ``openvino`` is searched after the bundled one.
        sha256: refuse any weights but those with this hash.

    Raises:
        WeightsError: the weights themselves are missing or not the ones asked for.
    """
    path = spec.file
    digest = check_hash(spec, sha256=sha256) or sha256_of(path)
    remedy = f"run `iog export {spec.asked}`"
    reason = f"{path.stem} was not exported: {remedy}"
    for parent in (BUNDLED_DIR, weights_dir):
        folder = parent / EXPORTS_FOLDER / path.stem
        if not (folder / MANIFEST).is_file():
            continue
        try:
            manifest = read_manifest(folder)
            spec.described_by(manifest, where=folder, kind="openvino")
            whole = all((folder / name).is_file() for name in manifest["files"])
            made_from = manifest["weights_sha256"]
        except (WeightsError, OSError, ValueError, KeyError, TypeError):
            whole, made_from = False, digest
        if not whole:
            reason = f"the export {folder} is damaged or of another version: {remedy} again"
        elif made_from == digest:
            return folder, ""
        else:
            reason = (
                f"the export {folder} is stale, made from other weights than {path}: {remedy} again"
            )
    return None, reason


def read_manifest(folder: Path) -> dict[str, Any]:
    """An export's description: that of its spec, ``metadata``, ``weights_sha256`` and ``files``.

    Raises:
        OSError, ValueError: there is none, or it is no JSON object.
    """
    content = json.loads((folder / MANIFEST).read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{folder / MANIFEST} is no JSON object")
    return content


def _no_torch(
    spec: ModelSpec, engine: str, precision: str, device: str, no_export: str | None
) -> str:
    """Why torch has to run a model, where it is not installed."""
    if engine == "torch":
        why = "The engine is 'torch' (IOG_ENGINE)"
    elif device == "cuda":
        why = "The device is 'cuda' (IOG_DEVICE)"
    elif precision not in OPENVINO_PRECISIONS:
        why = f"The precision is {precision!r} (IOG_PRECISION)"
    elif no_export is None:
        why = "OpenVINO is not installed"
    else:
        why = f"OpenVINO cannot run {spec.asked}, as {no_export}"
    on_gpu = device == "cuda" or precision == "fp16"
    advice = INSTALL_TORCH_CUDA if on_gpu else INSTALL_TORCH
    return f"{why}. That needs torch, which is not installed: {advice}."


def _check_openvino(precision: str, device: str) -> None:
    if not openvino_is_installed():
        raise SettingsError(
            "The engine is 'openvino' (IOG_ENGINE), which is not installed: `pip install --no-deps "
            "-r requirements.txt`, or set it to auto."
        )
    if device == "cuda":
        raise SettingsError(
            "The engine is 'openvino' (IOG_ENGINE) and the device 'cuda' (IOG_DEVICE), but "
            "OpenVINO runs on the CPU here; change one of them."
        )
    if precision not in OPENVINO_PRECISIONS:
        raise SettingsError(
            f"The precision is {precision!r} (IOG_PRECISION), which OpenVINO does not run here; "
            "set it to one of: " + ", ".join(OPENVINO_PRECISIONS) + "."
        )


def _exported(spec: ModelSpec, weights_dir: Path, sha256: str | None, threads: int) -> Path:
    """The export of a model, made now if there is none."""
    found, reason = find_export(spec, weights_dir=weights_dir, sha256=sha256)
    if found is not None:
        return found
    problem = SettingsError(f"The engine is 'openvino' (IOG_ENGINE), but {reason}.")
    if find_spec("torch") is None:
        raise SettingsError(f"{problem} That needs torch, which is not installed: {INSTALL_TORCH}.")
    folder = weights_dir / EXPORTS_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=_EXPORT_SECONDS)
        with lock:  # several workers start at once, and one export serves them all
            found, _ = find_export(spec, weights_dir=weights_dir, sha256=sha256)
            if found is None:
                _LOG.info("Exporting %s for OpenVINO, once.", spec.asked)
                _export_apart(spec.asked, weights_dir, threads, problem)
                found, _ = find_export(spec, weights_dir=weights_dir, sha256=sha256)
    except (OSError, Timeout, subprocess.TimeoutExpired) as error:
        raise problem from error
    if found is None:
        raise problem
    return found


def _export_apart(model: str, weights_dir: Path, threads: int, problem: SettingsError) -> None:
    """Export in another process: it needs torch, which this one shall not keep in memory."""
    done = subprocess.run(
        [sys.executable, "-m", "iog.engines.export", model, str(weights_dir), str(threads)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=_EXPORT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise SettingsError(f"{problem} (An attempt to do so failed: {last[0]})")


def _gpu_wanted(device: str) -> bool:
    """Whether torch should look for a GPU; torch itself is asked only where there may be one."""
    if device == "auto":
        return find_spec("torch") is not None and any(path.exists() for path in _GPUS)
    return device == "cuda"


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    try:
        sys.exit(
            find_export(resolve(sys.argv[1], weights_dir=folder), weights_dir=folder)[0] is None
        )
    except WeightsError:
        sys.exit(1)
