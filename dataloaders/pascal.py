"""Readers of PASCAL VOC 2012 and of SBD, and the index that such data sets need.

VOC has one PNG of instance numbers for each photograph, SBD one MATLAB file. Which objects a
photograph has is known only after reading its whole map. The index is therefore kept in a file
beside the list of photographs; it holds, for each photograph, the sizes and times of the files it
came from, so that a changed, added or removed map is noticed and read again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dataloaders import DatasetError
from dataloaders.samples import Entry, Listed, Sample, read_indices, read_names, read_photo, require

VOID = -1
"""The instance number of pixels that count neither way."""
_VERSION = 1


class Instance(NamedTuple):
    """One object of a photograph."""

    number: int
    """Its value in the map, from 1."""
    category: str


class Source(Protocol):
    """Where a data set keeps what belongs to a photograph."""

    @property
    def advice(self) -> str:
        """How to get a file that is missing."""

    def photo(self, image_id: str) -> Path:
        """The photograph's file."""

    def annotations(self, image_id: str) -> tuple[Path, ...]:
        """The files that ``instances`` and ``objects`` read."""

    def instances(self, image_id: str) -> NDArray[np.int16]:
        """Instance numbers [H, W]: 0 background, ``VOID``, objects from 1."""

    def objects(self, image_id: str) -> list[Instance]:
        """The objects that have at least one pixel, by number."""


@dataclass(frozen=True)
class _Object(Entry):
    number: int


class IndexedDataset(Listed):
    """The objects of some photographs, photograph by photograph.

    An object's index within its photograph is its instance number less one, so that the names of
    saved results are those of the official code.

    Args:
        source: the files.
        image_ids: the photographs, in order.
        index: the file that keeps the index; where it cannot be written, the data set is read
            anew each time.
        subset: the name all samples carry as their part of a larger data set.

    Raises:
        DatasetError: a file is missing or broken, or there is no object at all.
    """

    def __init__(
        self, source: Source, image_ids: Sequence[str], *, index: Path, subset: str = ""
    ) -> None:
        check_files(source, image_ids)
        found = _indexed(source, image_ids, index)
        self._source = source
        self._entries: list[_Object] = [
            _Object(image_id, number - 1, category, subset, number)
            for image_id in image_ids
            for number, category in found[image_id]
        ]
        if not self._entries:
            raise DatasetError(f"The photographs listed in {index.parent} have no object")

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        path = self._source.photo(entry.image_id)
        image, instances = read_photo(path), self._source.instances(entry.image_id)
        return entry.sample(path, image, instances == entry.number, instances == VOID)


def check_files(source: Source, image_ids: Sequence[str]) -> None:
    """Raise DatasetError for the first photograph or map that does not exist."""
    for image_id in image_ids:
        for path in (source.photo(image_id), *source.annotations(image_id)):
            require(path, advice=source.advice)


def numbered(instances: NDArray[np.int16]) -> dict[int, int]:
    """The place of each object's first pixel, row by row, in the flattened map, by number."""
    numbers, places = np.unique(instances, return_index=True)
    pairs = zip(numbers.tolist(), places.tolist(), strict=True)
    return {number: place for number, place in pairs if number > 0}


def _indexed(source: Source, image_ids: Sequence[str], path: Path) -> dict[str, list[Instance]]:
    """The objects of every photograph, from the file at ``path`` as far as it is still true."""
    known = _load(path)
    records: dict[str, Any] = {}
    for image_id in image_ids:
        stamps = [_stamp(file) for file in source.annotations(image_id)]
        record = known.get(image_id)
        if record is None or record["files"] != stamps:
            record = {"files": stamps, "objects": [list(o) for o in source.objects(image_id)]}
        records[image_id] = record
    if records != known:
        _store(path, records)
    return {
        image_id: [Instance(int(number), str(category)) for number, category in record["objects"]]
        for image_id, record in records.items()
    }


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _load(path: Path) -> dict[str, Any]:
    """The records of an index file; none if it is missing, broken or of another version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            return {}
        return {
            str(k): {"files": v["files"], "objects": v["objects"]}
            for k, v in content["images"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _store(path: Path, records: dict[str, Any]) -> None:
    """Write the index file whole or not at all; a data set may lie where nothing can be written."""
    text = json.dumps({"version": _VERSION, "images": records})
    with suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)


VOC_ARCHIVE = "VOCtrainval_11-May-2012.tar"
VOC_ALL = "trainval"
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
    index = source.lists / f"{split or VOC_ALL}.instances.json"
    return IndexedDataset(source, voc_ids(root, split=split), index=index, subset=subset)


def voc_ids(root: Path, *, split: str | None) -> list[str]:
    """The photographs of one split, in the order of its list."""
    source = _Voc(root)
    path = source.lists / f"{split or VOC_ALL}.txt"
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
            f"it is part of {VOC_ARCHIVE} from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/: "
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


SBD_ARCHIVE = "benchmark.tgz"
SBD_SPLITS = ("train", "val")


def open_sbd(
    root: Path, *, split: str | None, without: Sequence[str] = (), subset: str = ""
) -> IndexedDataset:
    """The objects of one split of SBD. It has no void pixels.

    Args:
        root: the folder that holds ``benchmark_RELEASE``, or the ``dataset`` folder in it.
        split: ``train`` or ``val``; ``None`` is both.
        without: photographs to leave out.
        subset: the name all samples carry as their part of a larger data set.

    Raises:
        DatasetError: a file is missing or broken; the sentence says where it comes from.
    """
    source = _Sbd(root)
    unwanted = set(without)
    ids = [name for name in sbd_ids(root, split=split) if name not in unwanted]
    # Parts of a split have an index of their own, else each would throw out the other's.
    part = "_part" if unwanted else ""
    index = source.folder / f"{split or '_'.join(SBD_SPLITS)}{part}.instances.json"
    return IndexedDataset(source, ids, index=index, subset=subset)


def sbd_ids(root: Path, *, split: str | None) -> list[str]:
    """The photographs of one split, in the order of its list; of both, train first."""
    source = _Sbd(root)
    if split is not None and split not in SBD_SPLITS:
        raise DatasetError(f"SBD has no split {split!r}; it has: {', '.join(SBD_SPLITS)}")
    names = [
        name
        for part in ((split,) if split else SBD_SPLITS)
        for name in read_names(source.folder / f"{part}.txt", advice=source.advice)
    ]
    return list(dict.fromkeys(names))


def check_sbd(root: Path) -> None:
    """Raise DatasetError for the first missing file of the whole data set."""
    check_files(_Sbd(root), sbd_ids(root, split=None))


class _Sbd:
    def __init__(self, root: Path) -> None:
        places = (root / "benchmark_RELEASE" / "dataset", root / "dataset", root)
        self.folder = next((p for p in places if (p / "inst").is_dir()), places[0])
        self.advice = (
            f"it is part of {SBD_ARCHIVE} from "
            "http://home.bharathh.info/pubs/codes/SBD/download.html: "
            f"unpack that into {root}, or let --download do it"
        )

    def photo(self, image_id: str) -> Path:
        return self.folder / "img" / f"{image_id}.jpg"

    def annotations(self, image_id: str) -> tuple[Path, ...]:
        return (self._file(image_id),)

    def instances(self, image_id: str) -> NDArray[np.int16]:
        instances: NDArray[np.int16] = self._read(image_id)["Segmentation"].astype(np.int16)
        return instances

    def objects(self, image_id: str) -> list[Instance]:
        content = self._read(image_id)
        categories = content["Categories"].ravel().tolist()
        found = numbered(content["Segmentation"].astype(np.int16))
        if found and max(found) > len(categories):
            raise DatasetError(f"{self._file(image_id)} has more instances than categories")
        return [Instance(number, category_name(int(categories[number - 1]))) for number in found]

    def _read(self, image_id: str) -> dict[str, NDArray[Any]]:
        # Not above: masks of other forms are read where there is no SciPy.
        from scipy.io import loadmat

        path = self._file(image_id)
        try:
            record = loadmat(path)["GTinst"][0, 0]
            return {name: np.asarray(record[name]) for name in ("Segmentation", "Categories")}
        # SciPy raises whatever the bytes lead it into.
        except Exception as error:
            raise DatasetError(
                f"{path} is not a readable file of SBD; restore it from {SBD_ARCHIVE}"
            ) from error

    def _file(self, image_id: str) -> Path:
        return self.folder / "inst" / f"{image_id}.mat"
