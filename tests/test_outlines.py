from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from iog.outlines import _on_pixel_edges as on_pixel_edges

MASKS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)
).filter(np.any)


def rings(mask: NDArray[np.uint8], offset: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    found = [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours]
    return on_pixel_edges(found, offset=offset)


def filled(found: list[NDArray[np.int32]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels with an odd number of upright sides of rings to their left."""
    sides = np.zeros((shape[0], shape[1] + 1), np.uint8)
    for ring in found:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x0 == x1:
                sides[min(y0, y1) : max(y0, y1), x0] += 1
    return (np.cumsum(sides, axis=1)[:, :-1] % 2).astype(np.uint8)


@given(MASKS)
def test_rings_enclose_exactly_the_mask(mask: NDArray[np.uint8]) -> None:
    found = rings(mask)
    np.testing.assert_array_equal(filled(found, mask.shape), mask)
    for ring in found:
        steps = np.roll(ring, -1, axis=0) - ring
        upright = steps[:, 0] == 0
        assert ((steps == 0).sum(axis=1) == 1).all()  # along one axis, and somewhere
        assert (upright != np.roll(upright, 1)).all()  # a corner at every vertex


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["#"], [[(0, 0), (0, 1), (1, 1), (1, 0)]]),
        (["##"], [[(0, 0), (0, 1), (2, 1), (2, 0)]]),
        (["#.", ".#"], [[(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 1), (1, 1), (1, 0)]]),
    ],
)
def test_small_shapes(rows: list[str], expected: list[list[tuple[int, int]]]) -> None:
    mask = np.array([[char == "#" for char in row] for row in rows], np.uint8)
    found = [[tuple(v) for v in ring.tolist()] for ring in rings(mask)]
    first = [ring.index((0, 0)) for ring in found]  # any vertex may come first
    assert [ring[n:] + ring[:n] for ring, n in zip(found, first, strict=True)] == expected


def test_rings_lie_where_the_mask_lies() -> None:
    assert rings(np.ones((2, 3), np.uint8), (10, 20))[0].tolist() == [
        [10, 20],
        [10, 22],
        [13, 22],
        [13, 20],
    ]
