"""Reader of photographs with instance-mask PNGs, from a folder or straight from a tar file.

``manifest.json`` at the top is a list of ``{set, split, image, mask, width, height, instances:
[{id, category}]}``; a mask is an 8-bit PNG: 0 background, 255 void, 1..254 the instance ids.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders import DatasetError
from dataloaders.samples import Sample, check_size, decode_image

VOID = 255


@dataclass(frozen=True)
class _Object:
    image: str
    mask: str
    subset: str
    index: int
    instance: int
    category: str


class InstanceMasks:
    """The objects of one split, by number.

    Args:
        path: a folder, or a tar file (read without unpacking).
        split: ``train`` or ``val`` as the manifest says; ``None`` takes everything.

    Raises:
        DatasetError: the path, the manifest or the split is missing.
    """

    def __init__(self, path: Path, *, split: str | None) -> None:
        self._files = _open(path)
        records: list[dict[str, Any]] = json.loads(self._files.read("manifest.json"))
        self._objects = [
            _Object(
                image=record["image"],
                mask=record["mask"],
                subset=record["set"],
                index=index,
                instance=int(instance["id"]),
                category=instance["category"] or "",
            )
            for record in records
            if split is None or record["split"] == split
            for index, instance in enumerate(record["instances"])
        ]
        if not self._objects:
            known = sorted({str(record["split"]) for record in records})
            raise DatasetError(f"{path} has no split {split!r}; it has: {', '.join(known)}")

    def __len__(self) -> int:
        return len(self._objects)

    def subset(self, index: int) -> str:
        """The part of the data set that object ``index`` comes from, without decoding it."""
        return self._objects[index].subset

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""
        return Path(self._objects[index].image).stem

    def __getitem__(self, index: int) -> Sample:
        entry = self._objects[index]
        image, instances = self._photo(entry.image), self._png(entry.mask)
        check_size(entry.image, image, instances.shape)
        return Sample(
            image=image,
            mask=instances == entry.instance,
            void=instances == VOID,
            image_id=Path(entry.image).stem,
            object_index=entry.index,
            category=entry.category,
            subset=entry.subset,
        )

    def _photo(self, name: str) -> NDArray[np.uint8]:
        return decode_image(self._files.read(name), cv2.IMREAD_COLOR_RGB, name)

    def _png(self, name: str) -> NDArray[np.uint8]:
        return decode_image(self._files.read(name), cv2.IMREAD_GRAYSCALE, name)


def _open(path: Path) -> _Folder | _Tar:
    if path.is_dir():
        return _Folder(path)
    if path.is_file():
        return _Tar(path)
    raise DatasetError(f"{path} does not exist; give a folder or a tar file with a manifest.json")


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            raise DatasetError(f"{self._path / name} is missing from the data set") from None


class _Tar:
    """Members by name; each read opens the file anew, so that processes may share the object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with tarfile.open(path) as archive:
                self._places = {m.name: (m.offset_data, m.size) for m in archive if m.isfile()}
        except tarfile.TarError as error:
            raise DatasetError(f"{path} is neither a folder nor a readable tar file") from error

    def read(self, name: str) -> bytes:
        try:
            offset, size = self._places[name]
        except KeyError:
            raise DatasetError(f"{name} is missing from {self._path}") from None
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
