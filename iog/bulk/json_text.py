"""JSON files that are larger than memory: where the values lie in them, and how to change some.

The standard library's scanner finds where a value ends. Text is read as Latin-1, so that a place in
it is a place in the file; a value that is not all ASCII is then read once more, as UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from iog.errors import DatasetError

__all__ = ["Member", "members", "read", "with_members"]

_CHUNK: Final = 1 << 20
# A single value may be so long: much more than a mask, and less than what memory is for.
_LONGEST: Final = 1 << 28
_LONGEST_WORD: Final = len("-Infinity")
_SPACE: Final = " \t\n\r"
_BOM: Final = b"\xef\xbb\xbf".decode("latin-1")
_DECODER: Final = json.JSONDecoder()


class Hash(Protocol):
    """What takes the bytes as they are read, such as ``hashlib.sha256()``."""

    def update(self, data: bytes, /) -> object:
        """Take more bytes."""


class Member(NamedTuple):
    """A value of the file's outermost object, or an element of a list there."""

    key: str
    """Its key, or that of its list."""
    start: int
    """Where its bytes begin in the file."""
    end: int
    """Where they end, exclusive."""
    value: Any
    element: bool
    """Whether it is an element of a list."""


def members(path: Path, *, seen_by: Hash | None = None) -> Iterator[Member]:
    """The members of a JSON file's object, in order; of a list its elements, one by one.

    Args:
        path: the file, UTF-8.
        seen_by: gets all bytes of the file.

    Raises:
        DatasetError: it is no JSON, or no object.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield from _Reader(file, path, seen_by).members()


def read(data: bytes) -> Any:  # noqa: ANN401 - whatever it is
    """The value of bytes whose place ``members`` told.

    Raises:
        ValueError: they are not UTF-8.
    """
    return json.loads(data.decode())


def with_members(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """The text of an object with some values changed, and all else as it stands.

    Args:
        data: an object without space around it.
        changes: values by key; what the object does not have is added at its end.
    """
    text = data.decode("latin-1")
    added = dict(changes)
    parts, at, last = [], 0, 0
    for key, start, last in _spans(text):
        if key in changes:
            parts += [text[at:start], _written(changes[key])]
            at = last
            added.pop(key, None)
    if added:
        parts.append(text[at : last or 1])
        at = last or 1
        joined = ", ".join(f"{_written(key)}: {_written(value)}" for key, value in added.items())
        parts.append(f", {joined}" if last else joined)
    return "".join([*parts, text[at:]]).encode("latin-1")


def _written(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Key, start and end of each value of an object's text."""
    at = _next(text, 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _next(text, _next(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield key, start, end
        at = _next(text, end)
        if text[at] == ",":
            at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    """The place of the next character that is no space."""
    while text[at] in _SPACE:
        at += 1
    return at


class _Reader:
    """Reads a file piece by piece; ``_text[_at]`` is at ``_base + _at`` of the file."""

    def __init__(self, file: BinaryIO, path: Path, seen_by: Hash | None) -> None:
        self._file = file
        self._path = path
        self._seen_by = seen_by
        self._text = ""
        self._at = 0
        self._base = 0
        self._ended = False

    def members(self) -> Iterator[Member]:
        if self._peek() == _BOM[0]:
            while len(self._text) < len(_BOM) and self._more():
                pass
            self._at += len(_BOM) if self._text.startswith(_BOM) else 0
        self._take("{")
        if self._peek() == "}":
            return
        while True:
            key, _, _ = self._value()
            self._take(":")
            if self._peek() == "[":
                yield from self._elements(str(key))
            else:
                value, start, end = self._value()
                yield Member(str(key), start, end, value, element=False)
            if self._peek() != ",":
                break
            self._take(",")
        self._take("}")
        if self._peek():
            raise self._error("something follows the object")

    def _elements(self, key: str) -> Iterator[Member]:
        self._take("[")
        if self._peek() != "]":
            while True:
                value, start, end = self._value()
                yield Member(key, start, end, value, element=True)
                if self._peek() != ",":
                    break
                self._take(",")
        self._take("]")

    def _more(self) -> bool:
        """Read on; whether there was more."""
        data = self._file.read(max(_CHUNK, len(self._text) - self._at))
        if self._seen_by is not None:
            self._seen_by.update(data)
        self._text = self._text[self._at :] + data.decode("latin-1")
        self._base += self._at
        self._at = 0
        self._ended = not data
        return bool(data)

    def _peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._error(f"{wanted!r} is missing")
        self._at += 1

    def _value(self) -> tuple[Any, int, int]:
        """The next value, and where its bytes are in the file."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # One that is only cut off fails where the text ends, or at a string's beginning.
                unterminated = error.msg.startswith("Unterminated")
                cut = unterminated or error.pos > len(self._text) - _LONGEST_WORD
                if cut and not self._ended and len(self._text) < _LONGEST:
                    self._more()
                    continue
                self._at = len(self._text) if unterminated else error.pos
                raise self._error(error.msg) from None
            except RecursionError:
                raise self._error("the values are nested too deeply") from None
            except ValueError as error:  # a number of too many digits
                raise self._error(str(error)) from None
            if end == len(self._text) and not self._ended:  # a number may go on
                self._more()
                continue
            if not (piece := self._text[self._at : end]).isascii():
                value = self._again(piece)
            start = self._base + self._at
            self._at = end
            return value, start, self._base + end

    def _again(self, piece: str) -> Any:  # noqa: ANN401
        """The value of a text that holds more than ASCII."""
        try:
            return read(piece.encode("latin-1"))
        except UnicodeDecodeError:
            raise self._error("a text is not UTF-8") from None

    def _error(self, reason: str) -> DatasetError:
        where = self._base + self._at
        if self._ended and self._at >= len(self._text):
            return DatasetError(f"{self._path} ends too soon, after {where} bytes: {reason}.")
        return DatasetError(f"{self._path} is not JSON of an object at byte {where}: {reason}.")
