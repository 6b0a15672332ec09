"""Every setting of the function, read from the environment in this one place.

A variable that is unset or empty keeps its default. Anything that cannot be used raises
`SettingsError` with the variable, the value it had and the values it may have.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from iog.errors import SettingsError

__all__ = ["OUTPUTS", "Device", "Engine", "LogFormat", "Precision", "Settings", "unknown_variables"]

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

_Choice = TypeVar("_Choice", bound=str)
_Number = TypeVar("_Number", bound=float)
_Default = TypeVar("_Default", bound=float | None)


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
        threshold: ``IOG_THRESHOLD``, the probability above 0 and below 1 from which a pixel is
            foreground; None takes the one of the weights. A request may name its own.
        max_pixels: ``IOG_MAX_PIXELS``, width times height an image may have.
        output: ``IOG_OUTPUT``, what an answer holds when the request does not say; None
            (``auto``) takes what the client reads, see ``iog.api.response.outputs_for``.
        cache_mb: ``IOG_CACHE_MB``, mebibytes a worker may keep from one click to the next; 0
            keeps nothing.
        log_format: ``IOG_LOG_FORMAT``, the form of the local host's log; Nuclio has its own.
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

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``environ`` (default: the environment of this process).

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        env = _Environment(os.environ if environ is None else environ)
        return cls(
            model=env.text("IOG_MODEL") or cls.model,
            weights_dir=env.folder("IOG_WEIGHTS_DIR") or default_weights_dir(),
            weights_sha256=env.sha256("IOG_WEIGHTS_SHA256"),
            engine=env.choice("IOG_ENGINE", get_args(Engine), cls.engine),
            precision=env.choice("IOG_PRECISION", get_args(Precision), cls.precision),
            device=env.choice("IOG_DEVICE", get_args(Device), cls.device),
            threads=env.number("IOG_THREADS", int, cls.threads, low=1, high=1024),
            threshold=env.probability("IOG_THRESHOLD", cls.threshold),
            max_pixels=env.number("IOG_MAX_PIXELS", int, cls.max_pixels, low=1, high=2**31 - 1),
            output=env.names("IOG_OUTPUT", OUTPUTS),
            cache_mb=env.number("IOG_CACHE_MB", int, cls.cache_mb, low=0, high=2**20),
            log_format=env.choice("IOG_LOG_FORMAT", get_args(LogFormat), cls.log_format),
        )

    def with_model(self, name: str | None) -> Settings:
        """These settings for another model; a digest that is about the old one is dropped."""
        if name is None or name == self.model:
            return self
        return replace(self, model=name, weights_sha256=None)

    def sha256_of(self, name: str) -> str | None:
        """The digest ``name`` must have: ``IOG_WEIGHTS_SHA256`` is about ``IOG_MODEL`` only."""
        return self.weights_sha256 if name == self.model else None


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each variable that is named like a setting and is none.

    Args:
        environ: default: the environment of this process.
    """
    known = {f"IOG_{name.upper()}" for name in Settings.__dataclass_fields__} | _ELSEWHERE
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


class _Environment:
    """Typed reading of variables; every method names the variable in its error."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def folder(self, name: str) -> Path | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise _unusable(name, value, "a path without ~: there is no home folder") from None

    def choice(self, name: str, allowed: tuple[_Choice, ...], default: _Choice) -> _Choice:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in allowed:
            raise _unusable(name, value, "one of: " + ", ".join(allowed))
        return cast(_Choice, value.lower())

    def names(self, name: str, allowed: tuple[str, ...]) -> tuple[str, ...] | None:
        """The names chosen; None for ``auto``, which is the default."""
        value = self.text(name)
        if value is None or value.lower() == "auto":
            return None
        chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",")))
        if any(part not in allowed for part in chosen):
            several = ", ".join(allowed)
            raise _unusable(name, value, f"auto, or one or more of, separated by commas: {several}")
        return chosen

    def number(
        self,
        name: str,
        kind: Callable[[str], _Number],
        default: _Default,
        *,
        low: float,
        high: float,
    ) -> _Number | _Default:
        value = self.text(name)
        if value is None:
            return default
        what = "a whole number" if kind is int else "a number"
        problem = _unusable(name, value, f"{what} from {low} to {high}")
        try:
            number = kind(value)
        except ValueError:
            raise problem from None
        if not low <= number <= high:  # NaN ends here too
            raise problem
        return number

    def probability(self, name: str, default: float | None) -> float | None:
        value = self.number(name, float, default, low=0, high=1)
        # At 0 every pixel would be foreground and at 1 none: a request may not say so either.
        if value in (0, 1):
            raise _unusable(name, self._environ[name], "a number above 0 and below 1")
        return value

    def sha256(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise _unusable(name, value, "64 hexadecimal digits")
        return value.lower() if value else None


def _unusable(name: str, value: str, allowed: str) -> SettingsError:
    return SettingsError(f"{name} is {value!r}; it must be {allowed}.")
