from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog.cache import Cache, Namespace


def ask(cache: Cache, key: str, nbytes: int, namespace: Namespace = "window") -> bool:
    """Whether the value had to be computed."""
    computed: list[str] = []

    def compute() -> str:
        computed.append(key)
        return key.upper()

    assert cache.get_or_compute(namespace, key, compute, nbytes=lambda _: nbytes) == key.upper()
    return bool(computed)


def test_the_oldest_unused_value_goes_first() -> None:
    cache = Cache(10)
    assert [ask(cache, key, 3) for key in "abc"] == [True] * 3
    assert not ask(cache, "a", 3)  # now younger than b
    assert ask(cache, "d", 4)
    assert [ask(cache, key, 3) for key in "acd"] == [False] * 3
    assert ask(cache, "b", 3)
    assert cache.stats()["window"] == (4, 5)


def test_a_value_that_is_too_large_is_not_kept_and_drops_nothing() -> None:
    cache = Cache(10)
    ask(cache, "a", 10)
    assert ask(cache, "b", 11)
    assert ask(cache, "b", 11)
    assert not ask(cache, "a", 10)


def test_without_memory_nothing_is_kept() -> None:
    cache = Cache(0)
    assert [ask(cache, "a", 1), ask(cache, "a", 1)] == [True, True]


def test_namespaces_share_the_bytes_and_nothing_else() -> None:
    cache = Cache(10)
    ask(cache, "a", 6, "window")
    assert ask(cache, "a", 5, "crop")
    assert not ask(cache, "a", 5, "crop")
    assert ask(cache, "a", 6, "window")
    assert cache.stats() == {
        "file": (0, 0), "image": (0, 0), "pixels": (0, 0), "window": (0, 2), "crop": (1, 1),
        "first": (0, 0),
        "interior": (0, 0),
    }  # fmt: skip


def test_clearing_forgets_all_values_and_no_counts() -> None:
    cache = Cache(10)
    ask(cache, "a", 6)
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)
    assert ask(cache, "a", 6)
    assert cache.stats()["window"] == (0, 2)


def test_nothing_is_kept_of_a_failure_nor_of_none() -> None:
    cache = Cache(10)

    def fail() -> str:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        cache.get_or_compute("pixels", "a", fail, nbytes=len)
    assert cache.get_or_compute("pixels", "a", lambda: None, nbytes=lambda _: 1) is None
    assert ask(cache, "a", 1, "pixels")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_it_never_holds_more_than_it_may(asked: list[tuple[bool, int, int]]) -> None:
    cache = Cache(100)
    known: dict[tuple[bool, int], int] = {}
    for second, key, size in asked:

        def compute(size: int = size) -> int:
            return size

        namespace: Namespace = "crop" if second else "window"
        value = cache.get_or_compute(namespace, key, compute, nbytes=int)
        assert value in (size, known.get((second, key)))
        known[second, key] = value
        assert cache.nbytes <= min(100, sum(known.values()))
