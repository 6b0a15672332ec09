"""Opens a form from the one word that the command line gives for it: ``FORM:PATH[,IMAGES]``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, cast

from iog.bulk.coco import CocoBoxes
from iog.bulk.records import Outcomes, Sink, Source
from iog.errors import DatasetError
from iog.forms.cvat_coco import CvatCoco, read_coco, read_labels, write_coco
from iog.forms.cvat_masks import CvatMasks, write_masks
from iog.forms.cvat_xml import CvatXml
from iog.forms.files import open_files, scratch
from iog.forms.images import Images
from iog.forms.pictures import Form, Picture
from iog.forms.voc import VocBoxes
from iog.forms.yolo import YoloBoxes, write_yolo

__all__ = ["FORMS", "TO", "FileForm", "Options", "coco_file", "open_form"]

FORMS: Final = "coco:PATH, cvat:PATH, cvat-masks:PATH, voc:PATH, yolo:PATH, each with ,IMAGES"
TO: Final = ("coco", "cvat-masks", "yolo")
"""Forms that every other can be written as."""


class FileForm(Source, Protocol):
    """A source that says how many objects it leaves as they are."""

    kept: int


@dataclass(frozen=True)
class Options:
    """What the command line says of the masks.

    Attributes:
        form: of masks, where the form of the files has both.
        tolerance: of outlines, in pixels.
        redo: make masks for objects that have one, too.
        points_field: see ``CocoBoxes``.
    """

    form: Literal["rle", "polygon"] = "rle"
    tolerance: float = 1.0
    redo: bool = False
    points_field: str | None = None


def open_form(
    spec: str, out: Path, *, to: str | None = None, options: Options | None = None
) -> tuple[FileForm, Sink]:
    """The source of a data set, and the sink that writes it with masks.

    Args:
        spec: one of ``FORMS``. A path is a folder or a zip archive; of ``coco`` it may be the JSON
            file, of ``cvat`` the XML file.
        out: what to write.
        to: the form to write, one of ``TO``; ``None`` for the input's own, of ``voc`` for
            ``cvat-masks``, which is how VOC has masks.

    Raises:
        DatasetError: the spec has another form, or its files have.
    """
    options = options or Options()
    kind, path, images = _parse(spec)
    same = "cvat-masks" if kind == "voc" else kind
    if to not in (None, same, *TO):
        raise DatasetError(f"--to {to} is none of {', '.join(sorted({same, *TO}))}.")
    if to in (None, same) and kind != "voc":
        form = _opened(kind, path, images, out, options)
        return form, cast("Sink", form)
    if to == "coco":
        _check_one_file(out)
    form = _opened(kind, path, images, None, options)
    return form, _Conversion(cast("Form", form), to or same, out, options)


def coco_file(path: Path, images: Path, out: Path, options: Options) -> tuple[FileForm, Sink]:
    """Source and sink of a COCO file, whatever its name.

    Raises:
        DatasetError, OSError: see ``CocoBoxes``.
    """
    _check_one_file(out)
    form = _CocoFile(path, images, out, options)
    return form, form


@dataclass(frozen=True)
class _Conversion:
    """A sink of another form."""

    form: Form
    to: str
    out: Path
    options: Options

    def write(self, outcomes: Outcomes) -> str:
        pictures, labels = self.form.pictures(outcomes), self.form.labels()
        match self.to:
            case "coco":
                return write_coco(
                    pictures,
                    labels,
                    self.out,
                    form=self.options.form,
                    tolerance=self.options.tolerance,
                )
            case "yolo":
                return write_yolo(pictures, labels, self.out, tolerance=self.options.tolerance)
            case _:
                return write_masks(pictures, labels, self.out)


class _CocoFile(CocoBoxes):
    """A COCO file that can be converted."""

    def __init__(self, path: Path, images: Path, out: Path | None, options: Options) -> None:
        found = Images(open_files(images), ("",))
        self._input = path
        self._find = found.find
        self._written = out or scratch(self) / "coco.json"
        super().__init__(
            path,
            images if images.is_dir() else found.find,
            self._written,
            form=options.form,
            tolerance=options.tolerance,
            redo=options.redo,
            points_field=options.points_field,
        )

    def labels(self) -> list[str]:
        return read_labels(self._input)

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        self.write(outcomes)
        yield from read_coco(self._written, self._find)


def _opened(
    kind: str, path: Path, images: Path | None, out: Path | None, options: Options
) -> FileForm:
    form, tolerance, redo = options.form, options.tolerance, options.redo
    lone = kind == "coco" and path.suffix.lower() == ".json"
    if options.points_field and not lone:
        raise DatasetError("--points-field is for --coco and for --data coco:FILE.json.")
    match kind:
        case "coco" if lone:
            if out is not None:
                _check_one_file(out)
            return _CocoFile(path, images or path.parent, out, options)
        case "coco":
            return CvatCoco(path, images, out, form=form, tolerance=tolerance, redo=redo)
        case "cvat":
            return CvatXml(path, images, out, form=form, tolerance=tolerance, redo=redo)
        case "cvat-masks":
            return CvatMasks(path, images, out, redo=redo)
        case "yolo":
            return YoloBoxes(path, images, out, tolerance=tolerance, redo=redo)
        case _:
            return VocBoxes(path, images)


def _check_one_file(out: Path) -> None:
    if out.suffix.lower() == ".zip":
        raise DatasetError(f"COCO is one file: give a name that ends in .json, not {out.name}.")


def _parse(spec: str) -> tuple[str, Path, Path | None]:
    kind, _, where = spec.partition(":")
    path, comma, images = where.partition(",")
    if (
        kind not in ("coco", "cvat", "cvat-masks", "voc", "yolo")
        or not path
        or (comma and not images)
    ):
        raise DatasetError(f"{spec!r} names no data set; give one of {FORMS}.")
    return kind, Path(path), Path(images) if images else None
