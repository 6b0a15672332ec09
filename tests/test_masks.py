from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from iog import masks
from iog.masks import Mask, Polygon

Array = NDArray[np.uint8]

small_masks = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 1)
)


def area(ring: list[list[int]]) -> float:
    """Shoelace formula; the sign says in which sense the ring runs."""
    following = ring[1:] + ring[:1]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, following, strict=True)) / 2


def drawn(polygons: list[Polygon], shape: tuple[int, int]) -> Array:
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


def from_cvat(points: list[int], shape: tuple[int, int]) -> Array:
    """The mask that CVAT reads from its run lengths."""
    *runs, left, top, right, bottom = points
    height, width = bottom - top + 1, right - left + 1
    values = np.arange(len(runs)) % 2
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : bottom + 1, left : right + 1] = np.repeat(values, runs).reshape(height, width)
    return mask


def disc(height: int, width: int, centre: tuple[float, float], radius: float) -> Array:
    y, x = np.mgrid[:height, :width] + 0.5
    mask: Array = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2).astype(np.uint8)
    return mask


def test_the_outline_of_one_pixel_is_a_square_of_side_one() -> None:
    mask = np.zeros((9, 8), dtype=np.uint8)
    mask[4, 3] = 1
    expected = {(3, 4), (4, 4), (4, 5), (3, 5)}
    assert {(x, y) for x, y in Mask.from_array(mask).outline(1)} == expected
    assert {(x, y) for x, y in Mask.from_array(mask).outline(0)} == expected


def test_the_outline_of_a_full_image_is_its_border() -> None:
    mask = np.ones((6, 11), dtype=np.uint8)
    assert sorted(Mask.from_array(mask).outline(1)) == [[0, 0], [0, 6], [11, 0], [11, 6]]


def test_an_empty_mask_has_no_outline() -> None:
    mask = np.zeros((6, 11), dtype=np.uint8)
    assert Mask.from_array(mask).outline(1) == []
    assert Mask.from_array(mask).polygon(1) == []
    assert Mask.from_array(mask).cvat_runs() == []
    assert Mask.from_array(mask).box is None


def test_a_ring_within_a_ring_is_three_rings() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[2:18, 2:18] = 1
    mask[5:15, 5:15] = 0
    mask[8:12, 8:12] = 1
    outer, inner = Mask.from_array(mask).polygon(1)
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
    left_edges = [min(x for x, _ in part["exterior"]) for part in Mask.from_array(mask).polygon(1)]
    assert left_edges == [20, 1, 33]
    assert min(x for x, _ in Mask.from_array(mask).outline(1)) == 20


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    mask = np.eye(3, dtype=np.uint8)
    (part,) = Mask.from_array(mask).polygon(0)
    assert part["holes"] == []
    assert abs(area(part["exterior"])) == 3


@given(small_masks)
def test_exact_polygons_have_the_area_of_the_pixels(mask: Array) -> None:
    parts = Mask.from_array(mask).polygon(0)
    outer = [area(part["exterior"]) for part in parts]
    holes = [area(hole) for part in parts for hole in part["holes"]]
    assert abs(sum(outer)) - sum(abs(hole) for hole in holes) == mask.sum()
    # All outer rings run one way and all holes the other.
    assert len({np.sign(ring) for ring in outer} | {-np.sign(hole) for hole in holes}) <= 1


@given(small_masks)
def test_exact_polygons_draw_the_mask(mask: Array) -> None:
    height, width = mask.shape
    assert np.array_equal(drawn(Mask.from_array(mask).polygon(0), (height, width)), mask)


@given(small_masks, st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0]))
def test_every_ring_is_a_polygon_inside_the_image(mask: Array, tolerance: float) -> None:
    height, width = mask.shape
    for part in Mask.from_array(mask).polygon(tolerance):
        for ring in (part["exterior"], *part["holes"]):
            assert len(ring) >= 3
            assert all(one != other for one, other in zip(ring, ring[1:] + ring[:1], strict=True))
            assert all(0 <= x <= width and 0 <= y <= height for x, y in ring)
            assert area(ring) != 0


def test_simplified_outlines_stay_within_the_tolerance() -> None:
    mask = disc(200, 300, (140.3, 95.8), 80)
    exact = Mask.from_array(mask).outline(0)
    simple = Mask.from_array(mask).outline(1)
    assert len(simple) < len(exact) / 4
    contour = np.array(simple, dtype=np.int32)
    distances = [abs(cv2.pointPolygonTest(contour, (x, y), True)) for x, y in exact]
    assert max(distances) <= masks.POLYGON_TOLERANCE_PX + 1e-6
    assert abs(area(simple)) == pytest.approx(mask.sum(), rel=0.02)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (2, 25), (3, 3)])
def test_thin_objects_keep_their_area(shape: tuple[int, int]) -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[5 : 5 + shape[0], 7 : 7 + shape[1]] = 1
    assert abs(area(Mask.from_array(mask).outline(1))) == pytest.approx(mask.sum(), rel=0.1)


@given(small_masks)
def test_outline_is_the_exterior_of_the_first_polygon(mask: Array) -> None:
    parts = Mask.from_array(mask).polygon(1)
    assert Mask.from_array(mask).outline(1) == (parts[0]["exterior"] if parts else [])


@given(small_masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_a_region_is_the_same_mask(
    mask: Array, left: int, top: int, right: int, bottom: int
) -> None:
    image = np.pad(mask, ((top, bottom), (left, right)))
    size = (image.shape[0], image.shape[1])
    one, other = Mask.of_region(mask, (left, top), size), Mask.from_array(image)
    np.testing.assert_array_equal(one.array, image.astype(bool))
    assert (one.box, one.area, one.size) == (other.box, other.area, other.size)
    assert one.polygon() == other.polygon()
    assert one.outline() == other.outline()
    assert one.cvat_runs() == other.cvat_runs()
    assert one.rle() == other.rle()
    assert one.png() == other.png()


@given(small_masks)
def test_the_box_is_tight(mask: Array) -> None:
    found = Mask.from_array(mask)
    assert found.area == mask.sum()
    if found.box is None:
        assert not mask.any()
        return
    x1, y1, x2, y2 = found.box
    rows, columns = np.nonzero(mask)
    assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(small_masks)
def test_run_lengths_and_png_round_trip(mask: Array) -> None:
    found = Mask.from_array(mask)
    np.testing.assert_array_equal(Mask.from_rle(found.rle()).array, found.array)
    column_major = np.asfortranarray(mask).ravel(order="F")
    ends = np.flatnonzero(np.diff(column_major)) + 1
    runs = np.diff(np.concatenate(([0], ends, [mask.size]))).tolist()
    plain = {"size": list(mask.shape), "counts": ([0] if column_major[0] else []) + runs}
    np.testing.assert_array_equal(Mask.from_rle(plain).array, found.array)
    pixels = cv2.imdecode(np.frombuffer(found.png(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    np.testing.assert_array_equal(Mask.from_array(pixels).array, found.array)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_run_lengths_of_pycocotools_are_read(share: float) -> None:
    mask = np.random.default_rng(1).random((300, 211)) < share
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(Mask.from_rle(rle).array, mask)


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [3, 4]},
        {"size": [3], "counts": "x"},
        {"size": [3, 4], "counts": []},
        {"size": [3, 4], "counts": [5, 6]},
        {"size": [3, 4], "counts": [13, -1]},
        {"size": [3, 4], "counts": [10**30]},
        {"size": [3, 4], "counts": [1.5, 10.5]},
        {"size": [3, 4], "counts": "5"},
        {"size": [3, 4], "counts": "o"},
        {"size": [3, 4], "counts": "oooooooooo1"},
        {"size": [3, 4], "counts": "\xe9"},
        {"size": [0, 4], "counts": [0]},
        {"size": [-3, -4], "counts": [12]},
        {"size": [10**30, 4], "counts": [12]},
        {"size": [3.0, 4], "counts": [12]},
    ],
)
def test_what_is_no_run_lengths_is_refused(rle: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Run lengths are"):
        Mask.from_rle(rle)


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="3 dimensions"):
        Mask.from_array(np.zeros((2, 3, 1)))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 3), 0.4), "compare it with a threshold first"),
        (np.full((2, 3), np.nan), "compare it with a threshold first"),
        (b"0101", "of type bytes"),
        (np.zeros((2, 3), object), "of type object"),
        ([[1, 0], [1]], "of type list"),
    ],
)
def test_what_is_no_mask_is_refused(array: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=words):
        Mask.from_array(array)


def test_a_mask_keeps_its_pixels_when_the_array_changes() -> None:
    array = np.ones((3, 4), np.uint8)
    mask = Mask.from_array(array)
    array[:] = 0
    assert mask.array.all()


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_tolerances_are_finite_and_not_negative(tolerance: float) -> None:
    mask = Mask.from_array(np.ones((2, 2)))
    for outlines in (mask.polygon, mask.outline):
        with pytest.raises(ValueError, match="tolerance is"):
            outlines(tolerance)


@given(small_masks, small_masks)
def test_the_union_has_the_pixels_of_each(one: Array, other: Array) -> None:
    shape = np.maximum(one.shape, other.shape)
    a, b = np.zeros((2, *shape), np.uint8)
    a[: one.shape[0], : one.shape[1]] = one
    b[: other.shape[0], : other.shape[1]] = other
    both = masks.union([Mask.from_array(a), Mask.from_array(b)])
    np.testing.assert_array_equal(both.array, (a | b).astype(bool))
    assert both.area == (a | b).sum()
    assert (both.box is None) == (both.area == 0)


def test_the_score_of_a_union_is_the_mean_by_area() -> None:
    array = np.zeros((4, 4), np.uint8)
    array[0, :3] = 1
    one = Mask.of_region(array, (0, 0), (4, 4), score=0.6)
    other = Mask.of_region(array[:, :1], (2, 2), (4, 4), score=1.0)
    assert masks.union([one, other]).score == pytest.approx(0.7)
    assert masks.union([one]) is one


def test_a_mask_of_a_region_makes_no_full_array_by_itself() -> None:
    mask = Mask.of_region(np.ones((3, 4), np.uint8), (2_000_000, 1_000_000), (10**9, 10**9))
    assert mask.box == (2_000_000, 1_000_000, 2_000_004, 1_000_003)
    assert mask.area == 12
    assert len(mask.polygon()[0]["exterior"]) == 4
    assert "area=12" in repr(mask)


def test_specks_go_and_holes_are_filled() -> None:
    array = np.zeros((20, 40), np.uint8)
    array[2:18, 2:18] = 1  # a square with two holes, of 1 and of 9 pixels
    array[4, 4] = array[10:13, 10:13] = 0
    array[2:6, 30:36] = 1
    array[19, 39] = 1
    mask = Mask.of_region(array, (0, 0), (20, 40), score=0.8)
    assert mask.cleaned() is mask
    assert mask.cleaned(largest=3, fill_holes=0).area == mask.area
    two = mask.cleaned(largest=2)
    assert two.area == mask.area - 1
    assert two.box == (2, 2, 36, 18)
    one = mask.cleaned(largest=1, fill_holes=8)
    assert one.area == 256 - 9
    assert mask.cleaned(largest=1, fill_holes=9).area == 256
    assert one.score == mask.score


@given(small_masks, st.integers(1, 3), st.integers(0, 5))
def test_cleaning_is_what_the_polygons_say(mask: Array, largest: int, hole: int) -> None:
    found = Mask.from_array(mask)
    kept = found.cleaned(largest=largest)
    areas = sorted(
        (abs(area(p["exterior"])) - sum(abs(area(h)) for h in p["holes"]) for p in found.polygon()),
        reverse=True,
    )
    assert kept.area == sum(areas[:largest])
    assert not (kept.array & ~found.array).any()
    filled = found.cleaned(fill_holes=hole)
    assert all(abs(area(h)) > hole for p in filled.polygon() for h in p["holes"])
    assert not (found.array & ~filled.array).any()


@pytest.mark.parametrize(
    "options", [{"largest": 0}, {"largest": 1.5}, {"fill_holes": -1}, {"fill_holes": np.nan}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Mask.from_array(np.ones((2, 2))).cleaned(**options)


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
    assert Mask.from_array(mask).cvat_runs() == expected


@given(small_masks)
def test_cvat_run_lengths_round_trip_in_a_tight_box(mask: Array) -> None:
    points = Mask.from_array(mask).cvat_runs()
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
@given(small_masks)
def test_coco_run_lengths_are_those_of_pycocotools(mask: Array) -> None:
    rle = Mask.from_array(mask).rle()
    assert isinstance(rle["counts"], str)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(coco.decode(rle), mask)


@settings(max_examples=50, deadline=None)
@given(small_masks)
def test_png_is_8_bit_and_shows_the_object_white(mask: Array) -> None:
    pixels = cv2.imdecode(
        np.frombuffer(Mask.from_array(mask).png(), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert pixels is not None
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, mask * 255)


def test_any_value_above_zero_is_object() -> None:
    mask = np.array([[0, 7, 255], [0, 0, 1]], dtype=np.uint8)
    ones = (mask > 0).astype(np.uint8)
    assert Mask.from_array(mask).polygon(1) == Mask.from_array(ones).polygon(1)
    assert Mask.from_array(mask).cvat_runs() == Mask.from_array(ones).cvat_runs()
    assert Mask.from_array(mask).rle() == Mask.from_array(ones).rle()
    assert Mask.from_array(mask).png() == Mask.from_array(ones).png()


def test_a_ragged_mask_of_many_parts_is_described_in_full() -> None:
    mask = (np.random.default_rng(3).random((150, 200)) < 0.4).astype(np.uint8)
    parts = Mask.from_array(mask).polygon(0)
    assert len(parts) > 500
    holes = sum(abs(area(hole)) for part in parts for hole in part["holes"])
    assert sum(abs(area(part["exterior"])) for part in parts) - holes == mask.sum()


def test_numpy_takes_a_mask_for_its_array() -> None:
    array = np.zeros((4, 6), bool)
    array[1:3, 2:5] = True
    mask = Mask.from_array(array)
    np.testing.assert_array_equal(np.asarray(mask), array)
    assert np.asarray(mask).dtype == np.bool_
    assert np.asarray(mask, np.float32).sum() == mask.area
    np.array(mask)[:] = False
    np.testing.assert_array_equal(mask.array, array)
