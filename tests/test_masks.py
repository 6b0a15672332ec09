from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from iog import masks

Mask = NDArray[np.uint8]

small_masks = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 1)
)


def area(ring: list[list[int]]) -> float:
    """Shoelace formula; the sign says in which sense the ring runs."""
    following = ring[1:] + ring[:1]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, following, strict=True)) / 2


def drawn(polygons: list[masks.Polygon], shape: tuple[int, int]) -> Mask:
    """The pixels whose centres lie inside an odd number of rings, found by counting crossings."""
    height, width = shape
    inside = np.zeros(shape, dtype=bool)
    centres_x = np.arange(width) + 0.5
    for polygon in polygons:
        for ring in (polygon["exterior"], *polygon["holes"]):
            for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
                for row in range(height):
                    if (y1 <= row + 0.5) != (y2 <= row + 0.5):
                        crossing = x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1)
                        inside[row] ^= centres_x > crossing
    return inside.astype(np.uint8)


def from_cvat(points: list[int], shape: tuple[int, int]) -> Mask:
    """The mask that CVAT reads from its run lengths."""
    *runs, left, top, right, bottom = points
    height, width = bottom - top + 1, right - left + 1
    values = np.arange(len(runs)) % 2
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : bottom + 1, left : right + 1] = np.repeat(values, runs).reshape(height, width)
    return mask


def disc(height: int, width: int, centre: tuple[float, float], radius: float) -> Mask:
    y, x = np.mgrid[:height, :width] + 0.5
    mask: Mask = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2).astype(np.uint8)
    return mask


def test_the_outline_of_one_pixel_is_a_square_of_side_one() -> None:
    mask = np.zeros((9, 8), dtype=np.uint8)
    mask[4, 3] = 1
    expected = {(3, 4), (4, 4), (4, 5), (3, 5)}
    assert {(x, y) for x, y in masks.outline(mask)} == expected
    assert {(x, y) for x, y in masks.outline(mask, 0)} == expected


def test_the_outline_of_a_full_image_is_its_border() -> None:
    mask = np.ones((6, 11), dtype=np.uint8)
    assert sorted(masks.outline(mask)) == [[0, 0], [0, 6], [11, 0], [11, 6]]


def test_an_empty_mask_has_no_outline() -> None:
    mask = np.zeros((6, 11), dtype=np.uint8)
    assert masks.outline(mask) == []
    assert masks.polygons(mask) == []
    assert masks.cvat_rle(mask) == []
    assert masks.tight_bounds(mask) is None
    assert masks.tight_bounds(mask, bounds=(2, 1, 5, 4)) is None


def test_a_ring_within_a_ring_is_three_rings() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[2:18, 2:18] = 1
    mask[5:15, 5:15] = 0
    mask[8:12, 8:12] = 1
    outer, inner = masks.polygons(mask)
    assert sorted(outer["exterior"]) == [[2, 2], [2, 18], [18, 2], [18, 18]]
    assert [sorted(hole) for hole in outer["holes"]] == [[[5, 5], [5, 15], [15, 5], [15, 15]]]
    assert sorted(inner["exterior"]) == [[8, 8], [8, 12], [12, 8], [12, 12]]
    assert inner["holes"] == []


def test_components_come_largest_first_and_holes_do_not_count() -> None:
    mask = np.zeros((20, 40), dtype=np.uint8)
    mask[1:15, 1:15] = 1  # 196 pixels, of which the hole leaves 52
    mask[2:14, 2:14] = 0
    mask[2:12, 20:30] = 1  # 100 pixels
    mask[2:5, 33:36] = 1  # 9 pixels
    left_edges = [min(x for x, _ in part["exterior"]) for part in masks.polygons(mask)]
    assert left_edges == [20, 1, 33]
    assert min(x for x, _ in masks.outline(mask)) == 20


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    mask = np.eye(3, dtype=np.uint8)
    (part,) = masks.polygons(mask, 0)
    assert part["holes"] == []
    assert abs(area(part["exterior"])) == 3


@settings(max_examples=300, deadline=None)
@given(small_masks)
def test_exact_polygons_have_the_area_of_the_pixels(mask: Mask) -> None:
    parts = masks.polygons(mask, 0)
    outer = [area(part["exterior"]) for part in parts]
    holes = [area(hole) for part in parts for hole in part["holes"]]
    assert abs(sum(outer)) - sum(abs(hole) for hole in holes) == mask.sum()
    # All outer rings run one way and all holes the other.
    assert len({np.sign(ring) for ring in outer} | {-np.sign(hole) for hole in holes}) <= 1


@settings(max_examples=100, deadline=None)
@given(small_masks)
def test_exact_polygons_draw_the_mask(mask: Mask) -> None:
    height, width = mask.shape
    assert np.array_equal(drawn(masks.polygons(mask, 0), (height, width)), mask)


@settings(max_examples=200, deadline=None)
@given(small_masks, st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0]))
def test_every_ring_is_a_polygon_inside_the_image(mask: Mask, tolerance: float) -> None:
    height, width = mask.shape
    for part in masks.polygons(mask, tolerance):
        for ring in (part["exterior"], *part["holes"]):
            assert len(ring) >= 3
            assert all(one != other for one, other in zip(ring, ring[1:] + ring[:1], strict=True))
            assert all(0 <= x <= width and 0 <= y <= height for x, y in ring)
            assert area(ring) != 0


def test_simplified_outlines_stay_within_the_tolerance() -> None:
    mask = disc(200, 300, (140.3, 95.8), 80)
    exact = masks.outline(mask, 0)
    simple = masks.outline(mask)
    assert len(simple) < len(exact) / 4
    contour = np.array(simple, dtype=np.int32)
    distances = [abs(cv2.pointPolygonTest(contour, (x, y), True)) for x, y in exact]
    assert max(distances) <= masks.POLYGON_TOLERANCE_PX + 1e-6
    assert abs(area(simple)) == pytest.approx(mask.sum(), rel=0.02)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (2, 25), (3, 3)])
def test_thin_objects_keep_their_area(shape: tuple[int, int]) -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[5 : 5 + shape[0], 7 : 7 + shape[1]] = 1
    assert abs(area(masks.outline(mask))) == pytest.approx(mask.sum(), rel=0.1)


@settings(max_examples=100, deadline=None)
@given(small_masks)
def test_outline_is_the_exterior_of_the_first_polygon(mask: Mask) -> None:
    parts = masks.polygons(mask)
    assert masks.outline(mask) == (parts[0]["exterior"] if parts else [])


@settings(max_examples=100, deadline=None)
@given(small_masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_bounds_change_nothing(mask: Mask, left: int, top: int, right: int, bottom: int) -> None:
    height, width = mask.shape
    image = np.pad(mask, ((top, bottom), (left, right)))
    bounds = (left, top, left + width, top + height)
    assert masks.polygons(image, bounds=bounds) == masks.polygons(image)
    assert masks.outline(image, bounds=bounds) == masks.outline(image)
    assert masks.cvat_rle(image, bounds=bounds) == masks.cvat_rle(image)
    assert masks.coco_rle(image, bounds=bounds) == masks.coco_rle(image)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["...", ".#.", "..."], [0, 1, 1, 1, 1, 1]),
        (["....", ".##.", ".#.."], [0, 3, 1, 1, 1, 2, 2]),
        (["..#", ".#.", "#.."], [2, 1, 1, 1, 1, 1, 2, 0, 0, 2, 2]),
        (["###"], [0, 3, 0, 0, 2, 0]),
    ],
)
def test_cvat_run_lengths_by_hand(rows: list[str], expected: list[int]) -> None:
    mask = np.array([[cell == "#" for cell in row] for row in rows], dtype=np.uint8)
    assert masks.cvat_rle(mask) == expected


@settings(max_examples=200, deadline=None)
@given(small_masks)
def test_cvat_run_lengths_round_trip_in_a_tight_box(mask: Mask) -> None:
    points = masks.cvat_rle(mask)
    if not mask.any():
        assert points == []
        return
    height, width = mask.shape
    assert np.array_equal(from_cvat(points, (height, width)), mask)
    *runs, left, top, right, bottom = points
    assert all(run > 0 for run in runs[1:])
    assert all(isinstance(number, int) for number in points)
    region = mask[top : bottom + 1, left : right + 1]
    assert region[0].any()
    assert region[-1].any()
    assert region[:, 0].any()
    assert region[:, -1].any()


# pycocotools 2.0.11 decodes by an array protocol that NumPy 2 calls outdated; encoding does not.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@settings(max_examples=200, deadline=None)
@given(small_masks)
def test_coco_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    rle = masks.coco_rle(mask)
    assert isinstance(rle["counts"], str)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(coco.decode(rle), mask)


@settings(max_examples=50, deadline=None)
@given(small_masks)
def test_png_is_8_bit_and_shows_the_object_white(mask: Mask) -> None:
    pixels = cv2.imdecode(np.frombuffer(masks.png(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, mask * 255)


def test_any_value_above_zero_is_object() -> None:
    mask = np.array([[0, 7, 255], [0, 0, 1]], dtype=np.uint8)
    ones = (mask > 0).astype(np.uint8)
    assert masks.polygons(mask) == masks.polygons(ones)
    assert masks.cvat_rle(mask) == masks.cvat_rle(ones)
    assert masks.coco_rle(mask) == masks.coco_rle(ones)
    assert masks.png(mask) == masks.png(ones)


def test_a_ragged_mask_of_many_parts_is_described_in_full() -> None:
    mask = (np.random.default_rng(3).random((150, 200)) < 0.4).astype(np.uint8)
    parts = masks.polygons(mask, 0)
    assert len(parts) > 500
    holes = sum(abs(area(hole)) for part in parts for hole in part["holes"])
    assert sum(abs(area(part["exterior"])) for part in parts) - holes == mask.sum()
