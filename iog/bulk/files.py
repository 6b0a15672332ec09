"""Output files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_output"]


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
