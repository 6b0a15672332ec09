"""What a model is, and where its weights lie.

The registry names the published models and the bundled one. Anything else is a path, or a
checkpoint of your own in the weights folder. Nothing here reads weights or asks the network:
``checkpoint`` reads them, ``fetching`` downloads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from dataloaders.geometry import CropRule, crop_fields
from iog.errors import WeightsError

__all__ = [
    "BUNDLED_DIR",
    "REGISTRY",
    "Kind",
    "ModelSpec",
    "installed",
    "locate",
    "own_spec",
    "resolve",
    "spec_of",
]

Kind = Literal["plain", "fused", "openvino", "onnx"]
"""What weights are stored as: of the trained network, of the fused one, or models of an export."""

BUNDLED_DIR: Final = Path(__file__).resolve().parent
"""The folder of the weights that come with the project."""

_FORMAT: Final = "iog"
_VERSION: Final = 3
"""Older ones are read as well: version 1 called a crop rule's ``input_size`` ``frame`` and had no
kind, and before version 3 two architectures had other names."""
_OLD_NAMES: Final = {"iog-lite": "iog-lite-2", "iog-lite-3": "iog-lite"}
_OWN_ARCHITECTURES: Final = ("iog-lite-2",)
"""Those that no model below has, but weights of your own may."""
_DRIVE: Final = "https://drive.google.com/uc?id="
_OWN: Final = "a file of your own"
_NO_LICENCE: Final = (
    "the authors state no licence, so all rights are reserved by default; not redistributed here. "
    "Derived from an ImageNet ResNet-101"
)


@dataclass(frozen=True)
class ModelSpec:
    """One model: its network, its weights, and the preprocessing that travels with them."""

    name: str
    """What ``IOG_MODEL`` and the command line call it."""
    architecture: str
    """A key of ``networks.ARCHITECTURES``. Empty for a file of your own until it is read."""
    source: str
    """Where the weights come from: an https address, or a few words where there is none."""
    filename: str
    """Name of the file in the weights folder."""
    crop: CropRule
    """How to cut the network frame out of the image and draw the guidance."""
    threshold: float
    """Default cut through the probabilities, between 0 and 1."""
    licence: str
    """The terms of the weights, as far as they are known."""
    size: int | None = None
    """Bytes of the file, where known."""
    sha256: str | None = None
    """Hash of the file in lower-case hexadecimal, where known."""
    sha256_confirmed: bool = False
    """Whether ``size`` and ``sha256`` were taken from the file at ``source`` itself. A file that
    differs is refused if so, and loaded with a warning if not."""
    path: Path | None = None
    """The file, once ``resolve`` found it."""

    @property
    def file(self) -> Path:
        """The path of a model that ``resolve`` found."""
        assert self.path is not None, f"{self.name} was not resolved"
        return self.path

    @property
    def asked(self) -> str:
        """What a user types for it: its name, or the path of a file of their own."""
        return str(self.path) if self.source == _OWN else self.name

    @property
    def published(self) -> bool:
        """Whether the file can be fetched from ``source``."""
        return self.source.startswith("https://")

    @property
    def remedy(self) -> str:
        """How to get the right file, as an advice."""
        if self.published:
            return f"get it with `iog weights fetch {self.name} [--from FILE|URL]`"
        return (
            f"restore it with `git checkout -- iog/models/{self.filename}`; install weights of "
            "your own under another name with `iog weights install FILE --name NAME`"
        )

    def standing(self, sha256: str) -> str:
        """How a file with this hash compares with what is known, in words."""
        if self.sha256 is None:
            return "has no known hash to compare with"
        if sha256 != self.sha256:
            return "differs from the public copy that is known, which nobody has confirmed"
        if not self.published:
            return "is the file of this project"
        if self.sha256_confirmed:
            return "equals the published file"
        return "equals the public copy that is known, which nobody has confirmed"

    def description(self, kind: Kind) -> dict[str, Any]:
        """What every file of weights says about itself; ``described_by`` reads it."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "kind": kind,
            "architecture": self.architecture,
            "crop": asdict(self.crop),
            "threshold": float(self.threshold),
        }

    def described_by(self, content: Mapping[str, Any], *, where: Path, kind: Kind) -> ModelSpec:
        """This spec with the architecture, crop rule and threshold that a file states.

        Where the file states another architecture than the spec has, the spec is returned as it
        is, and its weights will not fit.

        Args:
            content: what the file says about itself, metadata included.
            where: the file, for messages.
            kind: what it has to hold.

        Raises:
            WeightsError: a statement is missing or unusable.
        """
        version = content.get("version")
        if not isinstance(version, int) or not 1 <= version <= _VERSION:
            raise WeightsError(
                f"{where} is a checkpoint of version {version!r}, and this program reads versions "
                f"1 to {_VERSION}: use the release that wrote it, or a newer one."
            )
        if (found := content.get("kind", "plain")) != kind:
            raise WeightsError(f"{where} holds {found} weights, and {kind} ones are needed.")
        architecture, threshold = content.get("architecture"), content.get("threshold")
        if version < _VERSION and isinstance(architecture, str):
            architecture = _OLD_NAMES.get(architecture, architecture)
        crop = _parse_crop(content.get("crop"))
        valid = (
            isinstance(architecture, str)
            and architecture in {*(spec.architecture for spec in _SPECS), *_OWN_ARCHITECTURES}
            and isinstance(threshold, float)
            and 0 < threshold < 1
            and isinstance(content.get("metadata"), dict)
        )
        if not valid or crop is None:
            raise WeightsError(
                f"{where} says it is a checkpoint of this project, but its architecture, crop "
                "rule, threshold or metadata are missing or not understood: save it again."
            )
        assert isinstance(architecture, str)
        assert isinstance(threshold, float)
        if self.architecture not in ("", architecture):
            return self
        return replace(self, architecture=architecture, crop=crop, threshold=threshold)


_SPECS: Final = (
    ModelSpec(
        name="iog-lite",
        architecture="iog-lite",
        source="comes with this project",
        filename="iog-lite.pt",
        crop=CropRule(
            input_size=256, margin_px=6, margin_ratio=0.18, corner_offset=5, fwhm=7, antialias=True
        ),
        threshold=0.5,
        licence="MIT; trained by this project on data with stated terms, see MODEL_CARD.md",
        # Other weights, other lines: the test of this row prints them.
        size=5_872_443,
        sha256="f6aff47288700406197f978eece6829e7ce7048f1ae5ab3e96028d94f18bbe11",
        sha256_confirmed=True,
    ),
    ModelSpec(
        name="iog-pascal-sbd",
        architecture="iog-resnet101",
        source=_DRIVE + "1Lm1hhMhhjjnNwO4Pf7SC6tXLayH2iH0l",
        filename="IOG_PASCAL_SBD.pth",
        crop=CropRule(),
        threshold=0.3,
        licence=f"{_NO_LICENCE}, PASCAL VOC 2012 and SBD",
        # Size and hash of a public copy; whether it equals the authors' file nobody has said.
        size=209_133_432,
        sha256="f94ced1516f1d7587fcdbfc6b64c3908ca1e8bc706211f7996a784f71abf6313",
    ),
    ModelSpec(
        name="iog-pascal",
        architecture="iog-resnet101",
        source=_DRIVE + "1GLZIQlQ-3KUWaGTQ1g_InVcqesGfGcpW",
        filename="IOG_PASCAL.pth",
        crop=CropRule(),
        threshold=0.3,
        licence=f"{_NO_LICENCE} and PASCAL VOC 2012",
    ),
    ModelSpec(
        name="iog-pascal-sbd-refinement",
        architecture="iog-resnet101-refinement",
        source=_DRIVE + "1VdOFUZZbtbYt9aIMugKhMKDA6EuqKG30",
        filename="IOG_PASCAL_SBD_REFINEMENT.pth",
        crop=CropRule(),
        threshold=0.3,
        licence=f"{_NO_LICENCE}, PASCAL VOC 2012 and SBD",
    ),
)

REGISTRY: Final = MappingProxyType({spec.name: spec for spec in _SPECS})
"""The models with a name of their own, the bundled one first."""


def locate(name_or_path: str, *, weights_dir: Path) -> Path | None:
    """The file that a model name or a path stands for, or None where there is none.

    A word with a slash, or one that ends in ``.pt`` or ``.pth``, is a path. Anything else is a
    name, looked for among the bundled weights and then in ``weights_dir``.
    """
    if _is_path(name_or_path):
        path = Path(os.path.expanduser(name_or_path))
        return path if os.path.isfile(path) else None
    known = REGISTRY.get(name_or_path)
    filename = known.filename if known else f"{name_or_path}.pt"
    for folder in (BUNDLED_DIR, weights_dir):
        if os.path.isfile(folder / filename):
            return folder / filename
    return None


def resolve(name_or_path: str, *, weights_dir: Path) -> ModelSpec:
    """The model that a name or a path stands for, with the ``path`` of its weights.

    Raises:
        WeightsError: there is no such file; the message says how to get it. Published weights are
            never fetched from here, so no request ever waits for a download.
    """
    path = locate(name_or_path, weights_dir=weights_dir)
    known = REGISTRY.get(name_or_path)
    if path is not None:
        return replace(known, path=path) if known else own_spec(path)
    if _is_path(name_or_path):
        folder = os.path.isdir(os.path.expanduser(name_or_path))
        what = "is a folder, not a file" if folder else "does not exist"
        raise WeightsError(f"The weights file {name_or_path} {what}.")
    if known is not None and known.published:
        raise WeightsError(
            f"The weights {known.name!r} are not on this machine: run `iog weights fetch "
            f"{known.name}`, or put {known.filename} into {weights_dir}, or set IOG_MODEL=iog-lite "
            "to use the bundled model."
        )
    if known is not None:
        raise WeightsError(
            f"The bundled weights {known.filename} are missing from {BUNDLED_DIR}: restore them "
            f"with `git checkout -- iog/models/{known.filename}`, or put a copy into {weights_dir}."
        )
    as_path = f", which is ./{name_or_path}" if os.path.isfile(name_or_path) else ""
    advice = _known_names(name_or_path, [*REGISTRY, *installed(weights_dir)])
    raise WeightsError(
        f"There are no weights called {name_or_path!r}{advice} Or give the path of a file{as_path}."
    )


def spec_of(name: str) -> ModelSpec:
    """The registered model with a name.

    Raises:
        WeightsError: no registered model has that name.
    """
    if name not in REGISTRY:
        raise WeightsError(
            f"There are no weights {name!r} to fetch{_known_names(name, list(REGISTRY))}"
        )
    return REGISTRY[name]


def _known_names(wrong: str, names: list[str]) -> str:
    nearest = get_close_matches(wrong, names, n=1)
    question = f"; did you mean {nearest[0]}?" if nearest else "."
    return f"{question} Known are {', '.join(names)}."


def installed(weights_dir: Path) -> tuple[str, ...]:
    """Names of the checkpoints of your own (``NAME.pt``) where names are looked for."""
    files = {spec.filename for spec in REGISTRY.values()}
    found = {p for folder in (BUNDLED_DIR, weights_dir) for p in folder.glob("*.pt")}
    return tuple(sorted({p.stem for p in found if p.name not in files}))


def own_spec(
    path: Path,
    *,
    architecture: str = "",
    crop: CropRule | None = None,
    threshold: float | None = None,
) -> ModelSpec:
    """The spec of a file of your own.

    Where crop rule or threshold are left out, they are those of the first registered model with
    the architecture, or of ``iog-lite`` where there is none.
    """
    alike = (spec for spec in _SPECS if spec.architecture == architecture)
    like = next(alike, _SPECS[0])
    return ModelSpec(
        name=path.stem,
        architecture=architecture,
        source=_OWN,
        filename=path.name,
        crop=crop or like.crop,
        threshold=like.threshold if threshold is None else threshold,
        licence="as its maker states",
        path=path,
    )


def _parse_crop(values: object) -> CropRule | None:
    """A crop rule from a file; None unless it has every field and each value is usable."""
    kinds = {bool: (bool,), int: (int,), float: (int, float)}
    wanted = {field.name: kinds[type(field.default)] for field in fields(CropRule)}
    found = crop_fields(values) if isinstance(values, dict) else {}
    if found.keys() != wanted.keys() or any(type(v) not in wanted[k] for k, v in found.items()):
        return None
    try:
        return CropRule(**found)
    except ValueError:
        return None


def _is_path(name_or_path: str) -> bool:
    return re.search(r"[/\\]|\.pth?$", name_or_path) is not None
