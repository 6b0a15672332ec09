"""Reader of the Semantic Boundaries Dataset: one MATLAB file of instances per photograph.

The photographs are those of PASCAL VOC 2011, the splits are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from dataloaders import DatasetError
from dataloaders.files import read_names
from dataloaders.indexed import IndexedDataset, Instance, check_files, numbered
from dataloaders.voc import category_name

ARCHIVE = "benchmark.tgz"
SPLITS = ("train", "val")


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
    index = source.folder / f"{split or '_'.join(SPLITS)}{part}.instances.json"
    return IndexedDataset(source, ids, index=index, subset=subset)


def sbd_ids(root: Path, *, split: str | None) -> list[str]:
    """The photographs of one split, in the order of its list; of both, train first."""
    source = _Sbd(root)
    if split is not None and split not in SPLITS:
        raise DatasetError(f"SBD has no split {split!r}; it has: {', '.join(SPLITS)}")
    names = [
        name
        for part in ((split,) if split else SPLITS)
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
            f"it is part of {ARCHIVE} from http://home.bharathh.info/pubs/codes/SBD/download.html: "
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
        path = self._file(image_id)
        try:
            record = loadmat(path)["GTinst"][0, 0]
            return {name: np.asarray(record[name]) for name in ("Segmentation", "Categories")}
        # SciPy raises whatever the bytes lead it into.
        except Exception as error:
            raise DatasetError(
                f"{path} is not a readable file of SBD; restore it from {ARCHIVE}"
            ) from error

    def _file(self, image_id: str) -> Path:
        return self.folder / "inst" / f"{image_id}.mat"
