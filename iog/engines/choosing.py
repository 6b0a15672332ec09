"""Choosing an engine for a model, from what is wanted and what is there."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from iog.engines.engine import Engine
from iog.engines.exports import FOLDER, Export, find_export
from iog.engines.openvino_engine import HINTS, OpenVINOEngine, is_installed
from iog.errors import INSTALL_TORCH, SettingsError
from iog.models.registry import WeightsRow

__all__ = ["Running", "start_engine"]

_LOG: Final = logging.getLogger(__name__)
_EXPORT_SECONDS: Final = 600
_GPUS: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True)
class Running:
    """An engine with a model in it."""

    engine: Engine[Any]
    row: WeightsRow
    """What the model is, how it is fed."""
    name: str
    """``torch`` or ``openvino``."""
    device: str
    """``cpu`` or ``cuda``."""


def start_engine(
    model: str,
    *,
    weights_dir: Path,
    sha256: str | None,
    engine: str,
    precision: str,
    device: str,
    threads: int,
) -> Running:
    """Load a model into an engine.

    ``auto`` takes OpenVINO where no GPU is to be used, OpenVINO is installed and the model was
    exported; otherwise torch. ``openvino`` exports a model first that was not, where torch is
    installed. Torch is imported only if it runs the model.

    Args:
        model: a name of ``iog.models.registry`` or a path.
        weights_dir: the folder that names are looked up in.
        sha256: refuse any weights but those with this hash.
        engine: ``auto``, ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads.

    Raises:
        SettingsError: the engine, device or precision is not to be had here.
        WeightsError: the weights are missing or unusable.
    """
    if engine == "openvino":
        _check_openvino(precision, device)
        export = _exported(model, weights_dir, sha256, threads)
        return _openvino(export, precision, threads)
    without = None
    if engine == "auto" and precision in HINTS and is_installed() and not _gpu_wanted(device):
        found, without = find_export(model, weights_dir=weights_dir, sha256=sha256)
        if found is not None:
            return _openvino(found, precision, threads)
    if find_spec("torch") is None:
        raise SettingsError(_no_torch(model, engine, precision, device, without))
    if without is not None:
        _LOG.info("torch runs the model, since %s to use OpenVINO.", without)
    return _torch(model, weights_dir, sha256, precision, device, threads)


def _torch(
    model: str, weights_dir: Path, sha256: str | None, precision: str, device: str, threads: int
) -> Running:
    import torch

    from iog.engines.folded import load_form
    from iog.engines.torch_engine import TorchEngine, choose_device, choose_dtype

    torch.set_num_threads(threads)
    place = choose_device(device)
    dtype = choose_dtype(precision, place)
    form = load_form(
        model,
        weights_dir=weights_dir,
        sha256=sha256,
        dtype=torch.float32 if place == "cuda" else dtype,
    )
    if place == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    network = form.network if place == "cpu" else form.network.to(place).lowered(dtype)
    return Running(TorchEngine(network), form.row, "torch", place)


def _no_torch(model: str, engine: str, precision: str, device: str, without: str | None) -> str:
    """Why torch has to run a model, where it is not installed."""
    if engine == "torch":
        why = "IOG_ENGINE is 'torch'"
    elif device == "cuda":
        why = "IOG_DEVICE is 'cuda'"
    elif precision not in HINTS:
        why = f"IOG_PRECISION is {precision!r}"
    elif without is None:
        why = "OpenVINO is not installed"
    else:
        why = f"OpenVINO cannot run {model}, as {without}"
    return f"{why}. That needs torch, which is not installed: {INSTALL_TORCH}."


def _openvino(export: Export, precision: str, threads: int) -> Running:
    engine = OpenVINOEngine(export, precision=precision, threads=threads)
    return Running(engine, export.row, "openvino", "cpu")


def _check_openvino(precision: str, device: str) -> None:
    if not is_installed():
        raise SettingsError(
            "IOG_ENGINE is 'openvino', which is not installed: `pip install --no-deps -r "
            "requirements.txt`, or set it to auto."
        )
    if device == "cuda":
        raise SettingsError(
            "IOG_ENGINE is 'openvino' and IOG_DEVICE is 'cuda', but OpenVINO runs on the CPU here; "
            "change one of them."
        )
    if precision not in HINTS:
        raise SettingsError(
            f"IOG_PRECISION is {precision!r}, which OpenVINO does not run here; set it to one of: "
            + ", ".join(HINTS)
            + "."
        )


def _exported(model: str, weights_dir: Path, sha256: str | None, threads: int) -> Export:
    """The export of a model, made now if there is none."""
    found, reason = find_export(model, weights_dir=weights_dir, sha256=sha256)
    if found is not None:
        return found
    problem = SettingsError(f"IOG_ENGINE is 'openvino', but {reason}.")
    if find_spec("torch") is None:
        raise SettingsError(f"{problem} That needs torch, which is not installed: {INSTALL_TORCH}.")
    folder = weights_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=_EXPORT_SECONDS)
        with lock:  # several workers start at once, and one export serves them all
            found, _ = find_export(model, weights_dir=weights_dir, sha256=sha256)
            if found is None:
                _LOG.info("Exporting %s for OpenVINO, once.", model)
                _export_apart(model, weights_dir, threads, problem)
                found, _ = find_export(model, weights_dir=weights_dir, sha256=sha256)
    except (OSError, Timeout, subprocess.TimeoutExpired) as error:
        raise problem from error
    if found is None:
        raise problem
    return found


def _export_apart(model: str, weights_dir: Path, threads: int, problem: SettingsError) -> None:
    """Export in a process of its own: it needs torch, and this one shall not keep it."""
    done = subprocess.run(
        [sys.executable, "-m", "iog.engines.exporting", model, str(weights_dir), str(threads)],
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
    """Whether torch should look for a GPU; it is asked itself only where there may be one."""
    if device == "auto":
        return find_spec("torch") is not None and any(path.exists() for path in _GPUS)
    return device == "cuda"
