"""Reading the next objects while the present one is scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from dataloaders.samples import Dataset, Sample

__all__ = ["read_ahead"]


def read_ahead(
    objects: Dataset, indices: Iterable[int], *, ahead: int = 4
) -> Iterator[tuple[int, Sample]]:
    """The objects with these numbers, in order, read by a second thread.

    One thread reads, so that a reader need not be safe for several; decoding a photograph is
    quick beside a network, and more threads would take cores from it.

    Args:
        objects: the data set.
        indices: numbers of its objects.
        ahead: how many samples wait at most.
    """
    waiting: deque[tuple[int, Future[Sample]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        try:
            for index in indices:
                waiting.append((index, pool.submit(objects.__getitem__, index)))
                if len(waiting) > ahead:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
