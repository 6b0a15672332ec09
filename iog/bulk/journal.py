"""The journal: what is finished, kept so that a run goes on after it was killed.

It is one SQLite file with a transaction for each image. A process that is killed at any moment
leaves whole transactions, and SQLite takes back the one that was not complete.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from iog.bulk.records import Failure, ImageOutcome, MaskRow, Outcome
from iog.errors import SettingsError

__all__ = ["Journal"]

_FORM: Final = "1"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcome (
    number INTEGER PRIMARY KEY, name TEXT, failure TEXT, height INTEGER, width INTEGER, counts TEXT,
    x0 INTEGER, y0 INTEGER, x1 INTEGER, y1 INTEGER, area INTEGER, score REAL
);
"""
_COLUMNS: Final = "failure, height, width, counts, x0, y0, x1, y1, area, score"


class Journal:
    """The outcomes of a run, on disk. It is the ``Outcomes`` that a sink reads.

    Args:
        path: the file, made if it is missing; SQLite puts ``-wal`` beside it.
        about: what the outcomes depend on, for people to read: names and values.

    Raises:
        SettingsError: the file is of a run with something else, or of another program, or a run
            is at work on it.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        self.path = path
        self._closed = False
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise OSError(f"{path}: {error}") from error
        try:
            self._open({**about, "form": _FORM})
        except BaseException as error:
            self._db.close()
            if not isinstance(error, sqlite3.DatabaseError):
                raise
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise SettingsError(
                    f"{path} is in use: another run writes the same output."
                ) from None
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{path}: {error}") from error
            raise SettingsError(
                f"{path} is no journal of `iog masks`: move it away, or give another --out."
            ) from None

    def _open(self, about: Mapping[str, str]) -> None:
        # Exclusive: two runs would do everything twice; and it needs no memory shared by processes.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.split(";")[:-1]:
            self._db.execute(statement)
        known = dict(self._db.execute("SELECT name, value FROM about"))
        # Where nothing is finished, nothing depends on what the run had.
        if known and len(self):
            _check(self.path, len(self), known, about)
        else:
            self._db.execute("DELETE FROM about")
            self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        self._db.execute("COMMIT")

    def __len__(self) -> int:
        """Objects with an outcome."""
        count: int = self._db.execute("SELECT count(*) FROM outcome").fetchone()[0]
        return count

    def __contains__(self, number: int) -> bool:
        """Whether an object has an outcome."""
        found = self._db.execute("SELECT 1 FROM outcome WHERE number = ?", (number,))
        return found.fetchone() is not None

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        """All object numbers with their outcomes, by number."""
        for row in self._db.execute(f"SELECT number, {_COLUMNS} FROM outcome ORDER BY number"):
            yield row[0], _outcome(row[1:])

    def get(self, number: int) -> Outcome | None:
        """The outcome of an object, if it has one."""
        found = self._db.execute(f"SELECT {_COLUMNS} FROM outcome WHERE number = ?", (number,))
        row = found.fetchone()
        return None if row is None else _outcome(row)

    def add(self, image: ImageOutcome) -> None:
        """Keep the outcomes of an image, all or none; on return they outlive the process.

        Raises:
            OSError: they cannot be written, such as when the disk is full.
        """
        names = {each.number: f"{image.image.name}, {each.name}" for each in image.image.objects}
        rows = [(number, names[number], *_row(outcome)) for number, outcome in image.outcomes]
        try:
            with self._db:
                self._db.execute("BEGIN")
                self._db.executemany(
                    "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from error

    def failures(self) -> Iterator[tuple[str, str]]:
        """Image and object, and the reason why it has no mask, in the input's order."""
        yield from self._db.execute(
            "SELECT name, failure FROM outcome WHERE failure IS NOT NULL ORDER BY number"
        )

    def counts(self) -> tuple[int, int]:
        """Objects that have a mask, and objects that failed."""
        made, failed = self._db.execute(
            "SELECT count(*) - count(failure), count(failure) FROM outcome"
        ).fetchone()
        return made, failed

    def close(self) -> None:
        """Let go of the file: a next run goes on with it. Without outcomes it is removed."""
        if self._closed:
            return
        if not len(self):
            return self.remove()
        self._close()

    def remove(self) -> None:
        """Close and remove it: the output holds all there is."""
        self._close()
        for ending in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def _close(self) -> None:
        self._closed = True
        self._db.close()


def _check(path: Path, count: int, known: Mapping[str, str], about: Mapping[str, str]) -> None:
    """Refuse a journal of a run with something else."""
    other = [
        f"{name} {known.get(name, 'none')!r}, not {about.get(name, 'none')!r}"
        for name in dict.fromkeys((*known, *about))
        if known.get(name) != about.get(name)
    ]
    if other:
        raise SettingsError(
            f"{path} holds {count:,} finished objects of a run with {'; '.join(other)}. Give what "
            "it had to go on with it, give another --out, or remove it to begin again."
        )


def _row(outcome: Outcome) -> tuple[Any, ...]:
    if isinstance(outcome, Failure):
        return (outcome.reason, *[None] * 9)
    return (None, *outcome.size, outcome.counts, *outcome.box, outcome.area, outcome.score)


def _outcome(row: tuple[Any, ...]) -> Outcome:
    failure, height, width, counts, x0, y0, x1, y1, area, score = row
    if failure is not None:
        return Failure(failure)
    return MaskRow((height, width), counts, (x0, y0, x1, y1), area, score)
