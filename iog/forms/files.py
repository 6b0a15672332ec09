"""The files of a data set: a folder, or a zip archive that is never unpacked."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol, cast

from iog.bulk.records import ImageFile
from iog.errors import DatasetError

__all__ = ["IMAGE_ENDINGS", "Files", "Target", "ZipMember", "open_files", "scratch", "target"]

IMAGE_ENDINGS: Final = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".avif", ".ppm",
)  # fmt: skip


class Files(Protocol):
    """Files by their names, with ``/`` between folders."""

    where: Path

    def names(self) -> list[str]:
        """All of them, sorted."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def open(self, name: str) -> BinaryIO:
        """One of them.

        Raises:
            DatasetError: it is not there.
        """

    def on_disk(self, name: str) -> Path:
        """One of them as a file that can be read from anywhere in it.

        Raises:
            DatasetError: it is not there.
        """

    def image(self, name: str) -> ImageFile:
        """One of them for a worker; whether it is there, the worker sees."""


class _Folder:
    def __init__(self, where: Path) -> None:
        self.where = where

    def names(self) -> list[str]:
        found = (path for path in self.where.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.where).as_posix() for path in found)

    def has(self, name: str) -> bool:
        return (self.where / _inside(name)).is_file()

    def open(self, name: str) -> BinaryIO:
        return self.on_disk(name).open("rb")

    def on_disk(self, name: str) -> Path:
        path = self.where / _inside(name)
        if not path.is_file():
            raise DatasetError(f"{path} is missing.")
        return path

    def image(self, name: str) -> ImageFile:
        return str(self.where / _inside(name))


class _Zip:
    def __init__(self, where: Path) -> None:
        self.where = where

    def names(self) -> list[str]:
        listed = _opened(str(self.where), os.getpid()).infolist()
        return sorted(each.filename for each in listed if not each.is_dir())

    def has(self, name: str) -> bool:
        return _inside(name) in _opened(str(self.where), os.getpid()).NameToInfo

    def open(self, name: str) -> BinaryIO:
        try:
            return cast("BinaryIO", _opened(str(self.where), os.getpid()).open(name))
        except KeyError:
            raise DatasetError(f"{self.where} has no {name}.") from None

    def on_disk(self, name: str) -> Path:
        path = scratch(self) / "file"
        with self.open(name) as member, path.open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
        return path

    def image(self, name: str) -> ImageFile:
        return ZipMember(str(self.where), name)


@dataclass(frozen=True)
class ZipMember:
    """Gets a file out of a zip archive; a worker calls it."""

    archive: str
    name: str

    def __call__(self) -> bytes:
        """Its bytes.

        Raises:
            OSError: it is not there, or broken.
        """
        try:
            return _opened(self.archive, os.getpid()).read(self.name)
        except KeyError:
            raise OSError(f"{self.archive} has no {self.name}.") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise OSError(f"{self.archive}, {self.name}: {error}") from error


@lru_cache(maxsize=4)
def _opened(path: str, process: int) -> zipfile.ZipFile:
    """An archive, kept open: its list of contents may be long. Not shared with other processes."""
    return zipfile.ZipFile(path)


def open_files(path: Path) -> Files:
    """A folder or a zip archive.

    Raises:
        DatasetError: it is neither.
    """
    if path.is_dir():
        return _Folder(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _Zip(path)
    raise DatasetError(f"{path} is neither a folder nor a zip archive.")


def scratch(owner: object) -> Path:
    """A new folder, which goes when its owner does."""
    folder = Path(tempfile.mkdtemp(prefix="iog-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


class Target:
    """Where the files of an output go."""

    def __init__(self, folder: Path | None, archive: zipfile.ZipFile | None) -> None:
        self._folder = folder
        self._archive = archive

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file; one at a time."""
        if self._archive is not None:
            # A fixed date: the same output has the same bytes.
            about = zipfile.ZipInfo(name)
            about.compress_type = zipfile.ZIP_DEFLATED
            with self._archive.open(about, "w", force_zip64=True) as member:
                yield cast("BinaryIO", member)
            return
        assert self._folder is not None
        path = self._folder / _inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield file

    def write(self, name: str, content: bytes) -> None:
        """A new file."""
        with self.open(name) as file:
            file.write(content)


@contextmanager
def target(out: Path) -> Iterator[Target]:
    """A new folder, or a new archive if the name ends in ``.zip``; there as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    part = out.with_name(out.name + ".part")
    if part.is_dir():  # what an earlier process left
        shutil.rmtree(part)
    try:
        if out.suffix.lower() == ".zip":
            with zipfile.ZipFile(part, "w") as archive:
                yield Target(None, archive)
        else:
            part.mkdir(parents=True)
            yield Target(part, None)
        part.replace(out)
    except BaseException:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
        raise


def _inside(name: str) -> str:
    """A name that stays in its folder: data sets come from strangers."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise DatasetError(f"The file name {name!r} leads out of the data set.")
    return name
