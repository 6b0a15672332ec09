"""What a predictor remembers from one click to the next, bounded in bytes.

The values are of different kinds and share the bytes: what was not used for longest goes first.
cachetools' ``LRUCache`` would need as much code around it, because sizes come from the engine and
hits are counted for each kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, Literal, TypeVar, cast, get_args

__all__ = ["Cache", "Namespace"]

V = TypeVar("V")

Namespace = Literal["file", "image", "pixels", "window", "crop", "first", "interior"]
"""``file``: the bytes of files, for requests that name their digest. ``image``: headers of files.
``pixels``: read images. ``window``: an image's windows into crops. ``crop``: encoded crops.
``first``: the masks of first clicks, which corrections start from. ``interior``: the inside points
of boxes without a click."""
_NAMESPACES: Final = get_args(Namespace)


class Cache:
    """Least-recently-used cache whose values are of known size.

    Args:
        max_bytes: what all values together may take; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[Namespace, Hashable], tuple[Any, int]] = OrderedDict()
        self._counts = {name: [0, 0] for name in _NAMESPACES}
        self.nbytes = 0

    def get_or_compute(
        self,
        namespace: Namespace,
        key: Hashable,
        compute: Callable[[], V],
        *,
        nbytes: Callable[[V], int],
    ) -> V:
        """The value for a key, computed where it is not known, and kept if it fits.

        Args:
            namespace: what kind of value it is; each kind has keys of its own.
            key: all that the value depends on.
            compute: called on a miss; whatever it raises is passed on. ``None`` is not kept.
            nbytes: the memory that a value takes.
        """
        value = self.get(namespace, key)
        if value is not None:
            return cast(V, value)
        value = compute()
        if value is not None:
            self.keep(namespace, key, value, nbytes(value))
        return value

    def get(self, namespace: Namespace, key: Hashable) -> Any | None:  # noqa: ANN401
        """The value kept for a key, if there is one."""
        entry = self._entries.get((namespace, key))
        self._counts[namespace][entry is None] += 1
        if entry is None:
            return None
        self._entries.move_to_end((namespace, key))
        return entry[0]

    def keep(self, namespace: Namespace, key: Hashable, value: object, nbytes: int) -> bool:
        """Keep a value as the one used last; False where it is larger than all there is."""
        if nbytes > self._max_bytes:
            return False
        _, before = self._entries.pop((namespace, key), (None, 0))
        self._entries[namespace, key] = (value, nbytes)
        self.nbytes += nbytes - before
        while self.nbytes > self._max_bytes:
            self.nbytes -= self._entries.popitem(last=False)[1][1]
        return True

    def stats(self) -> dict[str, tuple[int, int]]:
        """Hits and misses so far in each namespace."""
        return {name: (hits, misses) for name, (hits, misses) in self._counts.items()}

    def clear(self) -> None:
        """Forget all values; hits and misses stay."""
        self._entries.clear()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)
