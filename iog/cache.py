"""A worker's memory from one click to the next: bounded in bytes, what was not used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar, cast

V = TypeVar("V")

__all__ = ["ByteCache", "Shelf"]


class ByteCache:
    """Least-recently-used cache for values whose size the caller knows.

    Its shelves hold values of different kinds and share the bytes, so that whatever is used takes
    the room of what is not, whichever kind that is.

    Args:
        max_bytes: what all values together may take; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, Hashable], tuple[Any, int]] = OrderedDict()
        self._shelves: list[Shelf[Any]] = []
        self.nbytes = 0

    def shelf(self, name: str) -> Shelf[Any]:
        """A new shelf; its name tells its hits and misses apart, and must not be taken yet."""
        if any(shelf.name == name for shelf in self._shelves):
            raise ValueError(f"there is a shelf {name!r} already")
        self._shelves.append(Shelf(self, name))
        return self._shelves[-1]

    def lookups(self) -> dict[str, tuple[int, int]]:
        """Hits and misses so far of each shelf."""
        return {shelf.name: (shelf.hits, shelf.misses) for shelf in self._shelves}

    def clear(self) -> None:
        """Forget all values; hits and misses stay."""
        self._entries.clear()
        self.nbytes = 0

    def find(self, key: tuple[str, Hashable]) -> tuple[Any, int] | None:
        """The value and its size, now the youngest, or ``None``."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def keep(self, key: tuple[str, Hashable], value: Any, nbytes: int) -> None:  # noqa: ANN401
        """Keep a value if it fits, dropping the oldest for it."""
        if key in self._entries:
            self.nbytes -= self._entries.pop(key)[1]
        if nbytes > self._max_bytes:
            return
        self._entries[key] = (value, nbytes)
        self.nbytes += nbytes
        while self.nbytes > self._max_bytes:
            self.nbytes -= self._entries.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._entries)


class Shelf(Generic[V]):
    """The values of one kind in a `ByteCache`; made by `ByteCache.shelf`."""

    def __init__(self, cache: ByteCache, name: str) -> None:
        self._cache = cache
        self.name = name
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> V | None:
        """The value for ``key``, now the youngest, or ``None``; counts a hit or a miss."""
        entry = self._cache.find((self.name, key))
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        return cast(V, entry[0])

    def put(self, key: Hashable, value: V, nbytes: int) -> None:
        """Keep ``value`` if it fits, dropping the oldest values of any shelf for it."""
        self._cache.keep((self.name, key), value, nbytes)
