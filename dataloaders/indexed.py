"""Data sets with one map of instance numbers for each photograph, and the index of their objects.

Which objects a photograph has is known only after reading its whole map. The index is therefore
kept in a file beside the list of photographs; it holds, for each photograph, the sizes and times
of the files it came from, so that a changed, added or removed map is noticed and read again.
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
from dataloaders.files import check_size, read_photo, require
from dataloaders.samples import Sample

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
class _Entry:
    image_id: str
    instance: Instance


class IndexedDataset:
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
        self._subset = subset
        self._entries = [
            _Entry(image_id, instance) for image_id in image_ids for instance in found[image_id]
        ]
        if not self._entries:
            raise DatasetError(f"The photographs listed in {index.parent} have no object")

    def __len__(self) -> int:
        return len(self._entries)

    def subset(self, index: int) -> str:
        """The part of a larger data set that this one is."""
        del index
        return self._subset

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""
        return self._entries[index].image_id

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        path = self._source.photo(entry.image_id)
        image, instances = read_photo(path), self._source.instances(entry.image_id)
        check_size(path, image, instances.shape)
        return Sample(
            image=image,
            mask=instances == entry.instance.number,
            void=instances == VOID,
            image_id=entry.image_id,
            object_index=entry.instance.number - 1,
            category=entry.instance.category,
            subset=self._subset,
        )


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
