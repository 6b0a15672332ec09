"""Opens a data set from the one word that the command line gives for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from dataloaders import DatasetError
from dataloaders.coco import CocoObjects
from dataloaders.cvat_masks import open_cvat_masks
from dataloaders.instance_masks import InstanceMasks
from dataloaders.pascal import check_sbd, check_voc, open_sbd, open_voc, voc_ids
from dataloaders.samples import Dataset, Selection

FORMS = (
    "voc:ROOT, sbd:ROOT, voc+sbd:ROOT[,SBDROOT], coco:JSON,IMAGES, cvat-masks:DIR, masks:DIR_OR_TAR"
)


def open_dataset(spec: str, *, split: str | None) -> Dataset:
    """The objects of one split of a data set.

    Args:
        spec: one of ``FORMS``. ``{split}`` in the paths of ``coco`` stands for the split, as in
            ``coco:annotations/instances_{split}2017.json,{split}2017``.
        split: the part to read, as the data set names it; ``None`` takes everything. A COCO file
            is one part, whatever its name.

    Raises:
        DatasetError: the spec has another form, or a file of the data set is missing.
    """
    kind, first, second = _parse(spec)
    match kind:
        case "masks":
            return InstanceMasks(Path(first), split=split)
        case "voc":
            return open_voc(Path(first), split=split)
        case "sbd":
            return open_sbd(Path(first), split=split)
        case "voc+sbd":
            return _open_union(Path(first), Path(second or first), split=split)
        case "cvat-masks":
            return open_cvat_masks(Path(first), split=split)
        case _:
            path, images = (text.replace("{split}", split or "") for text in (first, second))
            return CocoObjects(Path(path), Path(images))


def default_split(spec: str) -> str | None:
    """What to score when nobody says: ``val``, or everything where an export has no such part.

    Raises:
        DatasetError: the spec has no known form.
    """
    return None if _parse(spec)[0] == "cvat-masks" else "val"


def missing_archives(spec: str) -> list[tuple[str, Path]]:
    """What a download would complete: ``voc`` or ``sbd``, and the folder it belongs into.

    Raises:
        DatasetError: the spec is of another form, or names a data set that nobody hands out.
    """
    kind, first, second = _parse(spec)
    if kind not in ("voc", "sbd", "voc+sbd"):
        raise DatasetError(f"{kind} data sets cannot be downloaded; voc and sbd can")
    roots = {"voc": Path(first), "sbd": Path(second or first)}
    checks = {"voc": check_voc, "sbd": check_sbd}
    return [(name, roots[name]) for name in kind.split("+") if _fails(checks[name], roots[name])]


class Joined(Selection):
    """Data sets one after another."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def _find(self, index: int) -> tuple[Dataset, int]:
        number = bisect_right(self._ends, index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._parts[number], index - (self._ends[number] - len(self._parts[number]))


def _parse(spec: str) -> tuple[str, str, str]:
    """The format and one or two paths, the second empty where it may be left out."""
    kind, _, where = spec.partition(":")
    first, comma, second = where.partition(",") if kind in ("voc+sbd", "coco") else (where, "", "")
    wrong = not first or (comma and not second) or (kind == "coco" and not second)
    if wrong or kind not in ("voc", "sbd", "voc+sbd", "coco", "cvat-masks", "masks"):
        raise DatasetError(f"{spec!r} names no data set; give one of {FORMS}")
    return kind, first, second


def _open_union(voc: Path, sbd: Path, *, split: str | None) -> Dataset:
    """VOC's train and all of SBD but the photographs of VOC's train and val (IOG, section 4).

    The union is for training, so its ``val`` is VOC's.
    """
    if split == "val":
        return open_voc(voc, split="val", subset="voc")
    if split not in ("train", None):
        raise DatasetError(f"voc+sbd has no split {split!r}; it has: train, val")
    taken = [*voc_ids(voc, split="train"), *voc_ids(voc, split="val")]
    return Joined(
        [
            open_voc(voc, split="train", subset="voc"),
            open_sbd(sbd, split=None, without=taken, subset="sbd"),
        ]
    )


def _fails(check: Callable[[Path], None], root: Path) -> bool:
    try:
        check(root)
    except DatasetError:
        return True
    return False
