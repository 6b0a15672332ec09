from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caching import ByteCache


def test_the_oldest_unused_value_goes_first() -> None:
    cache = ByteCache[str](10)
    for key in "abc":
        cache.put(key, key.upper(), 3)
    assert cache.get("a") == "A"  # now younger than b
    cache.put("d", "D", 4)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert (cache.hits, cache.misses) == (4, 1)


def test_a_value_that_is_too_large_is_not_kept_and_drops_nothing() -> None:
    cache = ByteCache[str](10)
    cache.put("a", "A", 10)
    cache.put("b", "B", 11)
    assert cache.get("b") is None
    assert cache.get("a") == "A"


def test_without_memory_nothing_is_kept() -> None:
    cache = ByteCache[str](0)
    cache.put("a", "A", 1)
    assert cache.get("a") is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_it_never_holds_more_than_it_may(puts: list[tuple[int, int]]) -> None:
    cache = ByteCache[int](100)
    sizes: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        sizes[key] = size
        held = {k: cache.get(k) for k in range(6)}
        assert cache.nbytes == sum(v for v in held.values() if v is not None) <= 100
        assert all(v in (None, sizes.get(k)) for k, v in held.items())
        assert cache.get(key) == size
