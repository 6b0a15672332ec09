from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog.cache import ByteCache, Shelf


def test_the_oldest_unused_value_goes_first() -> None:
    shelf: Shelf[str] = ByteCache(10).shelf("letters")
    for key in "abc":
        shelf.put(key, key.upper(), 3)
    assert shelf.get("a") == "A"  # now younger than b
    shelf.put("d", "D", 4)
    assert [shelf.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert (shelf.hits, shelf.misses) == (4, 1)


def test_a_value_that_is_too_large_is_not_kept_and_drops_nothing() -> None:
    shelf: Shelf[str] = ByteCache(10).shelf("letters")
    shelf.put("a", "A", 10)
    shelf.put("b", "B", 11)
    assert shelf.get("b") is None
    assert shelf.get("a") == "A"


def test_without_memory_nothing_is_kept() -> None:
    shelf: Shelf[str] = ByteCache(0).shelf("letters")
    shelf.put("a", "A", 1)
    assert shelf.get("a") is None


def test_shelves_share_the_bytes_and_nothing_else() -> None:
    cache = ByteCache(10)
    letters: Shelf[str] = cache.shelf("letters")
    numbers: Shelf[int] = cache.shelf("numbers")
    letters.put("a", "A", 6)
    assert numbers.get("a") is None
    numbers.put("a", 1, 5)
    assert (letters.get("a"), numbers.get("a")) == (None, 1)
    assert cache.lookups() == {"letters": (0, 1), "numbers": (1, 1)}
    with pytest.raises(ValueError, match="letters"):
        cache.shelf("letters")


def test_clearing_forgets_all_values() -> None:
    cache = ByteCache(10)
    shelf: Shelf[str] = cache.shelf("letters")
    shelf.put("a", "A", 6)
    cache.clear()
    assert (len(cache), cache.nbytes, shelf.get("a")) == (0, 0, None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_it_never_holds_more_than_it_may(puts: list[tuple[bool, int, int]]) -> None:
    cache = ByteCache(100)
    shelves: list[Shelf[int]] = [cache.shelf("first"), cache.shelf("second")]
    sizes: dict[tuple[bool, int], int] = {}
    for second, key, size in puts:
        shelves[second].put(key, size, size)
        sizes[second, key] = size
        held = {(n, k): shelves[n].get(k) for n in (False, True) for k in range(6)}
        assert cache.nbytes == sum(v for v in held.values() if v is not None) <= 100
        assert all(v in (None, sizes.get(k)) for k, v in held.items())
        assert shelves[second].get(key) == size
