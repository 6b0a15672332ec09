"""Files on the disk: their hash, what a PyTorch file holds, and writing in one step.

A file may come from anywhere, so nothing in it is ever run: only tensors and plain values are
unpickled. Every refusal is a ``WeightsError`` of one sentence.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Final

from iog.errors import WeightsError
from iog.models.spec import ModelSpec

__all__ = ["check_hash", "publish", "read_torch", "sha256_of", "writing"]

_LOG: Final = logging.getLogger(__name__)
_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_LOOKALIKES: Final = (
    (b"<", "a web page, which is what Google Drive sends when it refuses a download"),
    (b"version https://git-lfs", "a Git LFS pointer; `git lfs pull` gets the file itself"),
)
_SETTLED_NS: Final = 2_000_000_000
"""A file that changed less long ago may change again within one tick of the file system's clock."""
_hashes: dict[tuple[int, ...], str] = {}


def sha256_of(path: Path) -> str:
    """The hash of a whole file, in lower-case hexadecimal.

    A process reads a file once for as long as its size and times stay as they were.
    """
    with _readable(path) as file:
        status = os.fstat(file.fileno())
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, changed)
        if version in _hashes:
            return _hashes[version]
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - changed > _SETTLED_NS:
        _hashes[version] = found
    return found


def check_hash(spec: ModelSpec, *, sha256: str | None = None) -> str | None:
    """Compare a model's file with what is known about it.

    Args:
        spec: with the path of its file.
        sha256: the hash the user insists on (``IOG_WEIGHTS_SHA256``); it replaces the spec's.

    Returns:
        The file's hash in lower-case hexadecimal, or None where there is nothing to compare with.
        Then the file is not even read.

    Raises:
        WeightsError: the file differs from ``sha256``, or from a confirmed hash of the spec. A
            file that differs from an unconfirmed one is used, with a warning in the log.
    """
    path = spec.file
    if sha256 is not None:
        found = sha256_of(path)
        if found != sha256.lower():
            raise WeightsError(
                f"{path} has the sha256 {found}, but sha256 (IOG_WEIGHTS_SHA256) asks for "
                f"{sha256}: get the right file, or correct the setting."
            )
        return found
    if spec.sha256 is None:
        return None
    found = sha256_of(path)
    if found == spec.sha256:
        return found
    size = path.stat().st_size
    known = f"{spec.size} bytes, sha256 {spec.sha256}"
    if spec.sha256_confirmed:
        origin = "was published" if spec.published else spec.source
        raise WeightsError(
            f"{path} ({size} bytes, sha256 {found}) is not the {spec.name} that {origin} "
            f"({known}): {spec.remedy}."
        )
    _LOG.warning(
        "%s (%d bytes, sha256 %s) is not the public copy of %s that is known (%s). The hash of "
        "that copy is unconfirmed: nobody has compared it with the authors' file. So this file is "
        "used; IOG_WEIGHTS_SHA256=%s accepts it, and only it, from now on.",
        *(path.name, size, found, spec.name, known, found),
    )
    return found


def read_torch(path: Path) -> tuple[object, bool]:
    """Unpickle the tensors and plain values of a PyTorch file, on the CPU.

    Returns:
        What was saved, and whether its tensors are views of the mapped file: pages that every
        process that loads this file shares. Files of PyTorch before 1.6 cannot be mapped.

    Raises:
        WeightsError: the file cannot be read, is no PyTorch file, is damaged or cut off, or holds
            objects other than tensors and plain values.
    """
    with _readable(path) as file:
        head = file.read(64)
    if not head:
        raise WeightsError(f"{path} is empty: get the file again.")
    if head.startswith(_ZIP):
        _check_archive(path)
    elif not head.startswith(_PICKLE):
        start = head.lstrip().lower()
        looks = next((what for sign, what in _LOOKALIKES if start.startswith(sign)), None)
        raise WeightsError(f"{path} is not a PyTorch file" + (f" but {looks}." if looks else "."))
    import torch  # late: what serves without torch finds and hashes files too

    mapped = head.startswith(_ZIP)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), mapped
    except Exception as error:  # damaged bytes make torch raise nearly anything, IndexError too
        code = re.search(r"(?:GLOBAL|class) (\w+(?:\.\w+)*)", str(error))
        if code is not None:  # or a name that was cut in two: the difference cannot be told
            raise WeightsError(
                f"{path} holds more than tensors ({code[1]}), or is damaged, and was not opened, "
                "since such objects can run code: get the file again, or save only the tensors, "
                "with torch.save(network.state_dict(), path)."
            ) from error
        raise WeightsError(f"{path} is damaged or cut off: get the file again.") from error


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears under its name complete or not at all.

    Yields a binary file next to ``path``, which takes its place when the block ends well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            publish(Path(file.name), path)
        except BaseException:
            os.unlink(file.name)
            raise


def publish(staged: Path, path: Path) -> None:
    """Move a complete file to its name in one step, readable by everyone, safe on the disk."""
    os.chmod(staged, 0o644)  # temporary files are private, weights are not
    with open(staged, "rb") as file:
        os.fsync(file.fileno())
    os.replace(staged, path)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(f"{path} is damaged or cut off: get the file again.") from error
    if "constants.pkl" in names:
        raise WeightsError(f"{path} is a TorchScript program, not weights.")
    if "data.pkl" not in names:
        raise WeightsError(f"{path} is a zip archive, but not a PyTorch file.")


@contextmanager
def _readable(path: Path) -> Iterator[BufferedReader]:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only the opening is guarded
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        yield file
