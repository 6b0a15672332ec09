"""The table of weights: what each model is, where it comes from, how it wants to be fed.

A model is named by a row of the table, by the name of a checkpoint that lies in the weights
folder as ``NAME.pt``, or by a path. A name is looked for first in ``BUNDLED_DIR``, then in the
weights folder. Nothing here reads a file or asks the network: ``checkpoint`` loads, ``fetching``
downloads.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dataloaders.geometry import CropRule
from iog.errors import WeightsError

__all__ = [
    "BUNDLED_DIR",
    "TABLE",
    "WeightsRow",
    "installed",
    "locate",
    "own_row",
    "resolve",
    "rows",
]

BUNDLED_DIR: Final = Path(__file__).resolve().parent
"""The folder of the weights that come with the project."""

_DRIVE: Final = "https://drive.google.com/uc?id="
_NO_LICENCE: Final = (
    "the authors state no licence, so all rights are reserved by default; not redistributed here. "
    "Derived from an ImageNet ResNet-101"
)


@dataclass(frozen=True)
class WeightsRow:
    """One model: its network, its file, and the preprocessing that travels with it."""

    name: str
    """What ``IOG_MODEL`` and the command line call it."""
    architecture: str
    """A key of ``networks.ARCHITECTURES``."""
    source: str
    """Where the file comes from: an https address, or a few words where there is none."""
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
    """Whether ``size`` and ``sha256`` were taken from the file at ``source`` itself. If not, a
    file that differs is loaded with a warning; if so, it is refused."""

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
            f"restore it with `git checkout -- iog/models/{self.filename}`; weights of your own "
            "get another name with `iog weights install FILE --name NAME`"
        )


_ROWS: Final = (
    WeightsRow(
        name="iog-lite",
        architecture="iog-lite",
        source="comes with this project",
        filename="iog-lite.pt",
        crop=CropRule(
            input_size=256, margin_px=6, margin_ratio=0.18, corner_offset=5, fwhm=7, antialias=True
        ),
        threshold=0.5,
        licence="trained by this project; iog/models/MODEL_CARD.md names the data and their terms",
        # Other weights, other lines: the test of this row prints them.
        size=7_526_451,
        sha256="ee6763fc27366886c12f642ee05954aa0d61c7cfd680d5c4ab624fd45bd73b6d",
        sha256_confirmed=True,
    ),
    WeightsRow(
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
    WeightsRow(
        name="iog-pascal",
        architecture="iog-resnet101",
        source=_DRIVE + "1GLZIQlQ-3KUWaGTQ1g_InVcqesGfGcpW",
        filename="IOG_PASCAL.pth",
        crop=CropRule(),
        threshold=0.3,
        licence=f"{_NO_LICENCE} and PASCAL VOC 2012",
    ),
    WeightsRow(
        name="iog-pascal-sbd-refinement",
        architecture="iog-resnet101-refinement",
        source=_DRIVE + "1VdOFUZZbtbYt9aIMugKhMKDA6EuqKG30",
        filename="IOG_PASCAL_SBD_REFINEMENT.pth",
        crop=CropRule(),
        threshold=0.3,
        licence=f"{_NO_LICENCE}, PASCAL VOC 2012 and SBD",
    ),
)

TABLE: Final = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name, in the order to show them."""


def rows() -> tuple[WeightsRow, ...]:
    """All rows, the bundled model first."""
    return _ROWS


def locate(name_or_path: str, *, weights_dir: Path) -> Path | None:
    """The file that a model name or a path stands for, or None where there is none.

    A word with a slash, or one that ends in ``.pt`` or ``.pth``, is a path. Anything else is a
    name, looked for in ``BUNDLED_DIR`` and then in ``weights_dir``.
    """
    if _is_path(name_or_path):
        path = Path(os.path.expanduser(name_or_path))
        return path if os.path.isfile(path) else None
    filename = TABLE[name_or_path].filename if name_or_path in TABLE else f"{name_or_path}.pt"
    for folder in (BUNDLED_DIR, weights_dir):
        if os.path.isfile(folder / filename):
            return folder / filename
    return None


def resolve(name_or_path: str, *, weights_dir: Path) -> tuple[WeightsRow | None, Path]:
    """The table's row (None for a path or a checkpoint of one's own) and the file to load.

    Raises:
        WeightsError: there is no such file; the message says how to get it. Published weights are
            never fetched from here, so that no request ever waits for a download.
    """
    path = locate(name_or_path, weights_dir=weights_dir)
    row = TABLE.get(name_or_path)
    if path is not None:
        return row, path
    if _is_path(name_or_path):
        folder = os.path.isdir(os.path.expanduser(name_or_path))
        what = "is a folder, not a file" if folder else "does not exist"
        raise WeightsError(f"The weights file {name_or_path} {what}.")
    if row is not None and row.published:
        raise WeightsError(
            f"The weights {row.name!r} are not on this machine: run `iog weights fetch "
            f"{row.name}`, or put {row.filename} into {weights_dir}, or set IOG_MODEL=iog-lite to "
            "use the bundled model."
        )
    if row is not None:
        raise WeightsError(
            f"The bundled weights {row.filename} are missing from {BUNDLED_DIR}: restore them "
            f"with `git checkout -- iog/models/{row.filename}`, or put a copy into {weights_dir}."
        )
    known = ", ".join([*TABLE, *installed(weights_dir)])
    raise WeightsError(
        f"There are no weights called {name_or_path!r}; known are {known}, or give the path of a "
        f"file{_as_path(name_or_path)}."
    )


def installed(weights_dir: Path) -> tuple[str, ...]:
    """Names under which checkpoints of one's own (``NAME.pt``) lie where names are looked for."""
    files = {row.filename for row in _ROWS}
    found = {p for folder in (BUNDLED_DIR, weights_dir) for p in folder.glob("*.pt")}
    return tuple(sorted({p.stem for p in found if p.name not in files}))


def own_row(path: Path, *, architecture: str) -> WeightsRow:
    """A row for a file of the user's own: fed like the table's first model with that network."""
    like = next(row for row in TABLE.values() if row.architecture == architecture)
    return WeightsRow(
        name=path.stem,
        architecture=architecture,
        source="a file of one's own",
        filename=path.name,
        crop=like.crop,
        threshold=like.threshold,
        licence="as its maker states",
    )


def _as_path(name: str) -> str:
    """What makes a file's name a path, where it is one's."""
    return f", which is ./{name}" if os.path.isfile(name) else ""


def _is_path(name_or_path: str) -> bool:
    return re.search(r"[/\\]|\.pth?$", name_or_path) is not None
