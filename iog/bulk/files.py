"""Output files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["atomic_output", "copy_bytes"]

_COPY_BYTES: Final = 1 << 20


@contextmanager
def atomic_output(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` once it is complete and on disk.

    What an earlier process left unfinished is written over.

    Raises:
        OSError: it cannot be written; ``path`` is as it was.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_bytes(source: BinaryIO, target: BinaryIO, count: int | None) -> None:
    """Copy so many bytes, or all that are left."""
    while count is None or count > 0:
        data = source.read(_COPY_BYTES if count is None else min(count, _COPY_BYTES))
        if not data:
            return
        target.write(data)
        if count is not None:
            count -= len(data)
