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
from dataloaders.samples import Entry, Listed, Sample, decode_image

VOID = 255


@dataclass(frozen=True)
class _Object(Entry):
    image: str
    mask: str
    instance: int


class InstanceMasks(Listed):
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
        self._entries: list[_Object] = [
            _Object(
                image_id=Path(record["image"]).stem,
                image=record["image"],
                mask=record["mask"],
                subset=record["set"],
                object_index=index,
                instance=int(instance["id"]),
                category=instance["category"] or "",
            )
            for record in records
            if split is None or record["split"] == split
            for index, instance in enumerate(record["instances"])
        ]
        if not self._entries:
            known = sorted({str(record["split"]) for record in records})
            raise DatasetError(f"{path} has no split {split!r}; it has: {', '.join(known)}")

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        instances = self._decoded(entry.mask, cv2.IMREAD_GRAYSCALE)
        image = self._decoded(entry.image, cv2.IMREAD_COLOR_RGB)
        return entry.sample(entry.image, image, instances == entry.instance, instances == VOID)

    def _decoded(self, name: str, flags: int) -> NDArray[np.uint8]:
        return decode_image(self._files.read(name), flags, name)


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
