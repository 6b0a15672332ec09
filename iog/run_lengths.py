"""COCO's run lengths: written, and checked before they are unpacked.

pycocotools reads memory beyond a text that ends too soon, and leaves pixels that no run covers
uninitialised.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from dataloaders.geometry import Size

__all__ = ["CocoRle", "packed", "unpacked"]

# The most pixels that `IOG_MAX_PIXELS` may allow, and characters that a run length takes at most.
_MOST_PIXELS = 2**31 - 1
_MOST_CHARACTERS = 7
_WANTED = 'Run lengths are {"size": [H, W], "counts": ...}'


class CocoRle(TypedDict):
    """COCO's compressed run lengths: column-major over the whole image, size is [H, W]."""

    size: list[int]
    counts: str


def packed(pixels: NDArray[np.uint8], corner: tuple[int, int], size: Size) -> CocoRle:
    """The run lengths of an image in which only one region has pixels.

    Args:
        pixels: uint8 [h, w], 0 or 1.
        corner: column and row of its first pixel.
        size: height and width of the image.
    """
    height, width = size
    left, top = corner
    # Column by column, each between two zeros, so that every run begins and ends in its column.
    columns = np.zeros((pixels.shape[1], pixels.shape[0] + 2), np.uint8)
    columns[:, 1:-1] = pixels.T
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), columns.shape[1] - 1)
    ends = (left + column) * height + top + row  # of runs, alternately background's and object's
    # A run to the foot of one column goes on at the head of the next.
    joined = np.flatnonzero(ends[1:-1:2] == ends[2::2]) * 2 + 1
    ends = np.delete(ends, np.concatenate((joined, joined + 1)))
    runs = np.diff(ends, prepend=0, append=height * width)
    if ends.size and ends[-1] == height * width:
        runs = runs[:-1]
    found = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    counts: bytes = found["counts"]
    return CocoRle(size=[height, width], counts=counts.decode("ascii"))


def unpacked(rle: Mapping[str, Any]) -> tuple[NDArray[np.uint8], int, Size]:
    """The pixels of ``{"size": [H, W], "counts": str, bytes or a list}``.

    Returns:
        uint8 [H, w], 0 or 1, C-contiguous: the columns from the object's first to its last; the
        number of the first; and the size of the image.

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
    drawn = np.flatnonzero(runs[1::2]) * 2 + 1  # the object's runs, without empty ones
    if not drawn.size:
        return np.zeros((height, 0), np.uint8), 0, (height, width)
    ends = np.cumsum(runs)
    begin, end = int(ends[drawn[0] - 1]), int(ends[drawn[-1]])
    left, right = begin // height, -(-end // height)
    inner = runs[drawn[0] : drawn[-1] + 1]
    lengths = np.concatenate(([begin - left * height], inner, [right * height - end]))
    values = (np.arange(lengths.size) & 1).astype(np.uint8)
    columns = np.repeat(values, lengths).reshape(right - left, height)
    return np.ascontiguousarray(columns.T), left, (height, width)


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
