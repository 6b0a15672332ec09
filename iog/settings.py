"""Every setting of the function, read from the environment in this one place.

A variable that is unset or empty keeps its default. Anything that cannot be used raises
`SettingsError` with the variable, the value it had and the values it may have.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from iog.errors import SettingsError

__all__ = [
    "OUTPUTS",
    "Device",
    "Engine",
    "LogFormat",
    "Precision",
    "Settings",
    "available_cores",
    "cors_origins_from_env",
    "unknown_variables",
    "weights_dir_from_env",
]

Engine = Literal["auto", "torch", "openvino"]
Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
LogFormat = Literal["text", "json"]
OUTPUTS = ("mask", "shapes", "polygon", "rle", "png", "objects")
"""What an answer may hold; the same names as in the request's ``output``."""

_ELSEWHERE = {"IOG_MIRROR", "IOG_ENDURANCE", "IOG_ENDURANCE_FIGURES"}
"""Read by the images' builds and by the endurance tests."""
# Kubernetes tells each pod of every Service: of one that is called iog, as IOG_SERVICE_HOST and so.
_OF_KUBERNETES = re.compile(
    r"IOG_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^\s/?#@:*\[\]]+)(:\d{1,5})?")

_CGROUP = Path("/sys/fs/cgroup")
_Number = TypeVar("_Number", int, float)


def default_weights_dir() -> Path:
    """The folder for fetched weights when none is set: ``~/.cache/iog``.

    In a container whose user has no home folder it is ``iog`` under the temporary folder.
    """
    try:
        return Path.home() / ".cache" / "iog"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "iog"


@dataclass(frozen=True)
class Settings:
    """What the function starts with; one field for each variable.

    Attributes:
        model: ``IOG_MODEL``, a name from the table of weights or the path of a checkpoint.
        weights_dir: ``IOG_WEIGHTS_DIR``, where fetched weights are kept and looked for.
        weights_sha256: ``IOG_WEIGHTS_SHA256``, the digest the weights must have (64 hex digits).
        engine: ``IOG_ENGINE``, what runs the network; ``auto`` takes OpenVINO on the CPU where
            it is installed and the model was exported (``iog export``), else torch.
        precision: ``IOG_PRECISION``, the arithmetic it runs in; fp16 on CUDA only.
        device: ``IOG_DEVICE``, where it runs; ``auto`` takes a GPU when there is one.
        threads: ``IOG_THREADS``, CPU threads of one worker; None takes the cores it may use.
        threshold: ``IOG_THRESHOLD``, the probability above 0 and below 1 above which a pixel is
            object; None takes the one of the weights. A request may name its own.
        max_pixels: ``IOG_MAX_PIXELS``, width times height an image may have.
        output: ``IOG_OUTPUT``, what an answer holds when the request does not say; None
            (``auto``) takes what the client reads, see ``iog.api.headers.outputs_for``.
        cache_mb: ``IOG_CACHE_MB``, mebibytes a worker may keep from one click to the next; 0
            keeps nothing.
        log_format: ``IOG_LOG_FORMAT``, the form of the local host's log; Nuclio has its own.
        cors_origins: ``IOG_CORS_ORIGINS``, the origins whose pages may use the local host beside
            its own; ``*`` for all. Nuclio has its own setting.
    """

    model: str = "iog-lite"
    weights_dir: Path = field(default_factory=default_weights_dir)
    weights_sha256: str | None = None
    engine: Engine = "auto"
    precision: Precision = "fp32"
    device: Device = "auto"
    threads: int | None = None
    threshold: float | None = None
    max_pixels: int = 178_000_000
    output: tuple[str, ...] | None = None
    cache_mb: int = 256
    log_format: LogFormat = "text"
    cors_origins: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``environ`` (default: the environment of this process).

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        environ = os.environ if environ is None else environ
        read: dict[str, Any] = {}
        for name, reader in _READERS.items():
            variable = f"IOG_{name.upper()}"
            value = environ.get(variable, "").strip()
            if not value:
                continue
            try:
                read[name] = reader(value)
            except ValueError as error:
                raise SettingsError(f"{variable} is {value!r}; it must be {error}.") from None
        return cls(**read)

    def with_model(self, name: str | None) -> Settings:
        """These settings for another model; a digest that is about the old one is dropped."""
        if name is None or name == self.model:
            return self
        return replace(self, model=name, weights_sha256=None)

    def sha256_of(self, name: str) -> str | None:
        """The digest ``name`` must have: ``IOG_WEIGHTS_SHA256`` is about ``IOG_MODEL`` only."""
        return self.weights_sha256 if name == self.model else None


def weights_dir_from_env() -> Path:
    """``IOG_WEIGHTS_DIR`` alone, or the default: a bad value of another variable does not matter.

    Raises:
        SettingsError: it holds a value that cannot be used.
    """
    value = os.environ.get("IOG_WEIGHTS_DIR", "")
    return Settings.from_env({"IOG_WEIGHTS_DIR": value}).weights_dir


def cors_origins_from_env() -> tuple[str, ...]:
    """``IOG_CORS_ORIGINS`` alone: the local host needs no other setting of the function.

    Raises:
        SettingsError: it holds a value that cannot be used.
    """
    value = os.environ.get("IOG_CORS_ORIGINS", "")
    return Settings.from_env({"IOG_CORS_ORIGINS": value}).cors_origins


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each variable that is named like a setting and is none.

    Args:
        environ: default: the environment of this process.
    """
    known = {f"IOG_{name.upper()}" for name in _READERS} | _ELSEWHERE
    endings = {name.removeprefix("IOG_"): name for name in sorted(known)}
    sentences = []
    for name in sorted(os.environ if environ is None else environ):
        # On Windows names are capitals already; elsewhere iog_model would be missed in silence.
        prefix, ending = name[:4].upper(), name[4:].upper()
        if prefix != "IOG_" or name in known or _OF_KUBERNETES.fullmatch(name):
            continue
        nearest = get_close_matches(ending, endings, n=1)
        advice = f"did you mean {endings[nearest[0]]}?" if nearest else "docs/api.md lists them."
        sentences.append(f"{name} is no setting; {advice}")
    return sentences


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores by affinity and by the container's CPU quota, at least 1.

    Torch counts the host's cores even where a container is limited to a few, and then runs slower
    than with the right number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    return max(1, min(cores or 1, quota if quota is not None else cores or 1))


def _quota(cgroup: Path) -> int | None:
    """Whole cores of the CPU quota, version 2 or 1 of the interface; ``None`` without a quota."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        share = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no quota
        return None
    return max(1, int(share)) if share > 0 else None


# Readers turn a variable's text into a setting. Their ValueError says what the value must be.


def _one_of(choices: object) -> Callable[[str], str]:
    allowed = get_args(choices)

    def read(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError("one of: " + ", ".join(allowed))
        return value.lower()

    return read


def _number(kind: type[_Number], low: float, high: float) -> Callable[[str], _Number]:
    def read(value: str) -> _Number:
        with contextlib.suppress(ValueError):
            if low <= (number := kind(value)) <= high:  # not so for NaN
                return number
        raise ValueError(f"{'a whole number' if kind is int else 'a number'} from {low} to {high}")

    return read


def _folder(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path without ~: there is no home folder") from None


def _outputs(value: str) -> tuple[str, ...] | None:
    """The names chosen; None for ``auto``."""
    if value.lower() == "auto":
        return None
    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",")))
    if not set(chosen) <= set(OUTPUTS):
        several = ", ".join(OUTPUTS)
        raise ValueError(f"auto, or one or more of, separated by commas: {several}")
    return chosen


def _threshold(value: str) -> float:
    # At 0 every pixel would be object and at 1 none: a request may not say so either.
    with contextlib.suppress(ValueError):
        if 0 < (number := float(value)) < 1:  # not so for NaN
            return number
    raise ValueError("a number above 0 and below 1")


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("64 hexadecimal digits")
    return value.lower()


def _origins(value: str) -> tuple[str, ...]:
    # As browsers send them: lower case, and nothing behind the port.
    origins = tuple(part.strip().lower().removesuffix("/") for part in value.split(","))
    if not all(each == "*" or _ORIGIN.fullmatch(each) for each in origins):
        raise ValueError(
            "*, or origins separated by commas: scheme, host and port, such as https://example.org"
        )
    return origins


_READERS: dict[str, Callable[[str], object]] = {
    "model": str,
    "weights_dir": _folder,
    "weights_sha256": _sha256,
    "engine": _one_of(Engine),
    "precision": _one_of(Precision),
    "device": _one_of(Device),
    "threads": _number(int, 1, 1024),
    "threshold": _threshold,
    "max_pixels": _number(int, 1, 2**31 - 1),
    "output": _outputs,
    "cache_mb": _number(int, 0, 2**20),
    "log_format": _one_of(LogFormat),
    "cors_origins": _origins,
}
