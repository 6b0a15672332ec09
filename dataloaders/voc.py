"""Reader of PASCAL VOC 2012's segmentation part: one PNG of instance numbers per photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataloaders import DatasetError
from dataloaders.files import read_indices, read_names
from dataloaders.indexed import VOID, IndexedDataset, Instance, check_files, numbered

ARCHIVE = "VOCtrainval_11-May-2012.tar"
ALL = "trainval"
"""The split that holds every photograph."""
CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The class names; a class's number is its place here, from 1."""
_STORED_VOID = 255


def open_voc(root: Path, *, split: str | None, subset: str = "") -> IndexedDataset:
    """The objects of one split of VOC 2012, every instance with at least one pixel.

    An object's category is the class of its first pixel, row by row; pixels numbered 255, the
    outlines, are void (IOG's own reader does the same).

    Args:
        root: the folder that holds ``VOCdevkit``, or ``VOC2012`` itself.
        split: ``train``, ``val`` or ``trainval``; ``None`` is ``trainval``.
        subset: the name all samples carry as their part of a larger data set.

    Raises:
        DatasetError: a file is missing or broken; the sentence says where it comes from.
    """
    source = _Voc(root)
    index = source.lists / f"{split or ALL}.instances.json"
    return IndexedDataset(source, voc_ids(root, split=split), index=index, subset=subset)


def voc_ids(root: Path, *, split: str | None) -> list[str]:
    """The photographs of one split, in the order of its list."""
    source = _Voc(root)
    path = source.lists / f"{split or ALL}.txt"
    splits = sorted(file.stem for file in source.lists.glob("*.txt"))
    if splits and not path.is_file():
        raise DatasetError(f"{source.lists} has no split {split!r}; it has: {', '.join(splits)}")
    return read_names(path, advice=source.advice)


def check_voc(root: Path) -> None:
    """Raise DatasetError for the first missing file of the whole data set."""
    check_files(_Voc(root), voc_ids(root, split=None))


def category_name(number: int) -> str:
    """The name of a class number; empty for one that is no class."""
    return CATEGORIES[number - 1] if 1 <= number <= len(CATEGORIES) else ""


class _Voc:
    def __init__(self, root: Path) -> None:
        places = (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root)
        self._folder = next((p for p in places if (p / "ImageSets").is_dir()), places[0])
        self.lists = self._folder / "ImageSets" / "Segmentation"
        self.advice = (
            f"it is part of {ARCHIVE} from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/: "
            f"unpack that into {root}, or let --download do it"
        )

    def photo(self, image_id: str) -> Path:
        return self._folder / "JPEGImages" / f"{image_id}.jpg"

    def annotations(self, image_id: str) -> tuple[Path, ...]:
        return self._map("SegmentationObject", image_id), self._map("SegmentationClass", image_id)

    def instances(self, image_id: str) -> NDArray[np.int16]:
        stored = read_indices(self._map("SegmentationObject", image_id)).astype(np.int16)
        stored[stored == _STORED_VOID] = VOID
        return stored

    def objects(self, image_id: str) -> list[Instance]:
        instances = self.instances(image_id)
        classes = read_indices(self._map("SegmentationClass", image_id))
        if classes.shape != instances.shape:
            raise DatasetError(f"The two maps of {image_id} in {self._folder} differ in size")
        return [
            Instance(number, category_name(int(classes.flat[place])))
            for number, place in numbered(instances).items()
        ]

    def _map(self, kind: str, image_id: str) -> Path:
        return self._folder / kind / f"{image_id}.png"
