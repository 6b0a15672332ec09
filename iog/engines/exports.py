"""Exported models: folders that an engine runs without torch.

    FOLDER/NAME/model.json       what it is, of which weights, how it is fed, how near it comes
    FOLDER/NAME/encoder.xml .bin [1, 5, S, S] -> what the decoder starts from, or the probability
    FOLDER/NAME/decoder.xml .bin that and [1, 2, S, S] -> [1, 1, S, S]; networks with clicks only
    FOLDER/NAME/fp32/            the same for fp32, if it is another model there (``winograd``)

    python -m iog.engines.exports NAME WEIGHTS_DIR      exit status 0 if there is one to be used

``exporting`` writes them. An export of other weights than those of the name is stale and not used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from dataloaders.geometry import CropRule, crop_fields
from iog.errors import WeightsError
from iog.models.registry import BUNDLED_DIR, WeightsRow, own_row, resolve
from iog.models.weightfiles import check_identity, sha256_of

__all__ = ["DECODER", "ENCODER", "FOLDER", "FP32", "Export", "find_export", "write_manifest"]

FOLDER: Final = "openvino"
"""Name of the folder of exports, beside the project's own weights and in the weights folder."""
ENCODER: Final = "encoder.xml"
DECODER: Final = "decoder.xml"
FP32: Final = "fp32"
"""Name of the folder of models for fp32 alone."""

_MANIFEST: Final = "model.json"
_SUFFIXES: Final = (".xml", ".bin")
_FORMAT: Final = "iog-openvino"
_VERSION: Final = 2


@dataclass(frozen=True)
class Export:
    """An exported model."""

    folder: Path
    row: WeightsRow
    """With the crop rule and the threshold that it was exported with."""
    sha256: str
    """Hash of the file of weights that it was made from."""
    refines: bool
    """Whether it has a decoder for clicks."""
    own_fp32: bool
    """Whether it has other models for fp32 than for lower precisions."""
    parity: Mapping[str, Any]
    """How near its answers come to torch's; see ``exporting.Parity``."""

    def model(self, name: str, precision: str) -> Path:
        """The file ``ENCODER`` or ``DECODER`` for a precision."""
        return self.folder / (FP32 if self.own_fp32 and precision == "fp32" else "") / name

    @property
    def files(self) -> list[Path]:
        """All models, each with its weights."""
        names = (ENCODER, DECODER) if self.refines else (ENCODER,)
        folders = (self.folder, self.folder / FP32) if self.own_fp32 else (self.folder,)
        return [
            (folder / name).with_suffix(s)
            for folder in folders
            for name in names
            for s in _SUFFIXES
        ]


def find_export(
    name_or_path: str, *, weights_dir: Path, sha256: str | None = None
) -> tuple[Export | None, str]:
    """The export of a model, and if there is none that can be used, why.

    Args:
        name_or_path: a name of ``iog.models.registry`` or a path.
        weights_dir: the folder that names are looked up in.
        sha256: refuse any weights but those with this hash.

    Raises:
        WeightsError: the weights themselves are missing or not the ones asked for.
    """
    row, path = resolve(name_or_path, weights_dir=weights_dir)
    digest = check_identity(path, row=row, sha256=sha256) or sha256_of(path)
    reason = f"{path.stem} was not exported: run `iog export {name_or_path}`"
    for folder in (BUNDLED_DIR / FOLDER / path.stem, weights_dir / FOLDER / path.stem):
        try:
            found = _read(folder, row=row, path=path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            reason = (
                f"the export {folder} is damaged or of another version: run `iog export "
                f"{name_or_path}` again"
            )
            continue
        if found.sha256 == digest:
            return found, ""
        reason = (
            f"the export {folder} is stale, made from other weights than {path}: run `iog export "
            f"{name_or_path}` again"
        )
    return None, reason


def write_manifest(export: Export) -> None:
    """Write what ``find_export`` reads. The models lie in its folder already."""
    row = export.row
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": row.name,
        "architecture": row.architecture,
        "crop": asdict(row.crop),
        "threshold": row.threshold,
        "weights_sha256": export.sha256,
        "refines": export.refines,
        "own_fp32": export.own_fp32,
        "parity": export.parity,
    }
    (export.folder / _MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def _read(folder: Path, *, row: WeightsRow | None, path: Path) -> Export:
    content = json.loads((folder / _MANIFEST).read_text())
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise ValueError("another format")
    row = row or own_row(path, architecture=content["architecture"])
    row = replace(
        row,
        architecture=content["architecture"],
        crop=CropRule(**crop_fields(content["crop"])),
        threshold=float(content["threshold"]),
    )
    found = Export(
        folder,
        row,
        sha256=content["weights_sha256"],
        refines=bool(content["refines"]),
        own_fp32=bool(content["own_fp32"]),
        parity=content["parity"],
    )
    if not all(path.is_file() for path in found.files):
        raise ValueError("a file is missing")
    return found


if __name__ == "__main__":
    try:
        sys.exit(find_export(sys.argv[1], weights_dir=Path(sys.argv[2]))[0] is None)
    except WeightsError:
        sys.exit(1)
