"""COCO's run lengths, checked before they are unpacked.

pycocotools reads memory beyond a text that ends too soon, and leaves pixels that no run covers
uninitialised.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["unpacked"]

# The most pixels that `IOG_MAX_PIXELS` may allow, and characters that a run length takes at most.
_MOST_PIXELS = 2**31 - 1
_MOST_CHARACTERS = 7
_WANTED = 'Run lengths are {"size": [H, W], "counts": ...}'


def unpacked(rle: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The pixels of ``{"size": [H, W], "counts": str, bytes or a list}``.

    Returns:
        uint8 [H, W], 0 or 1, C-contiguous.

    Raises:
        ValueError: it is not that, or the runs do not add up to the size.
    """
    try:
        height, width = map(operator.index, rle["size"])
        runs = _runs(rle["counts"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"{_WANTED}.") from None
    area = height * width
    if height < 1 or width < 1 or area > _MOST_PIXELS:
        raise ValueError(f"{_WANTED}; the size is [{height}, {width}].")
    if ((runs < 0) | (runs > area)).any():
        raise ValueError(f"{_WANTED}; a run is from 0 to {area} pixels long.")
    if (total := int(runs.sum())) != area:
        raise ValueError(f"{_WANTED}; the runs add up to {total}, not {area} pixels.")
    values = (np.arange(runs.size) & 1).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def _runs(counts: object) -> NDArray[np.int64]:
    """Run lengths as numbers, from a list or from COCO's text.

    The text holds five bits in a character, the lowest first; 32 says that more follow, 16 in the
    last that the number is negative. From the fourth on a number is the difference to the run two
    before.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if not isinstance(counts, str | bytes):
        listed = np.asarray(counts)
        if listed.ndim != 1 or listed.dtype.kind not in "iu":
            raise TypeError
        return listed.astype(np.int64)
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MOST_CHARACTERS:
        raise ValueError
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * place), starts)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return cast("NDArray[np.int64]", runs)
