"""Which image a request is about, as far as it can be told without reading the request.

A worker that knows the image answers a further click several times sooner than one that does not,
so the pool asks here. A wrong guess costs that time and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["Known", "image_mark"]

_FIELD: Final = b'"image"'
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 64
_REMEMBERED: Final = 64


def image_mark(body: bytes) -> int | None:
    """A number that requests with the same image share; None where no image is found.

    It is made of the length of the image's text and of samples from all over it: cameras begin
    their files alike, and a sum over all of a large text would hold up other requests.
    """
    field = body.find(_FIELD)
    start = body.find(b'"', field + len(_FIELD)) + 1
    end = body.find(b'"', start)
    if field < 0 or not 0 < start < end:
        return None
    step = max(1, (end - start) // _SAMPLES)
    samples = (body[at : min(at + _SAMPLE_BYTES, end)] for at in range(start, end, step))
    return hash((end - start, *samples))


class Known:
    """The images that a worker saw last."""

    def __init__(self) -> None:
        self._marks: OrderedDict[int, None] = OrderedDict()

    def add(self, mark: int | None) -> None:
        """Remember an image; the one that was not seen for longest goes."""
        if mark is None:
            return
        self._marks[mark] = None
        self._marks.move_to_end(mark)
        while len(self._marks) > _REMEMBERED:
            self._marks.popitem(last=False)

    def clear(self) -> None:
        """Forget all: the worker was replaced."""
        self._marks.clear()

    def __contains__(self, mark: int | None) -> bool:
        return mark in self._marks
