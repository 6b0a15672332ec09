from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from dataloaders.geometry import Crop, CropRule
from dataloaders.guidance import add_clicks, guidance_maps, heat_map, most_interior_point
from tests import reference


@pytest.mark.parametrize("name", reference.CASES)
def test_maps_and_inside_point_equal_the_official_ones(name: str) -> None:
    arrays, rule = reference.preprocessing(), CropRule()
    mask, _ = reference.case_masks(name)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = Crop.around((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), rule)
    point = most_interior_point(crop.extract(mask.astype(np.uint8)) > 0.5)
    assert point is not None
    assert list(point) == reference.case_figures(name)["points_xy_center_lt_lb_rt_rb"][0]
    inside, outside = guidance_maps(
        [point], crop.outside_points(), input_size=rule.input_size, fwhm=rule.fwhm
    )
    np.testing.assert_allclose(inside[::4, ::4], arrays[f"{name}/concat_inside"], atol=1e-3)
    np.testing.assert_allclose(outside[::4, ::4], arrays[f"{name}/concat_outside"], atol=1e-3)


def test_a_peak_is_one_at_its_point_and_half_at_half_its_width() -> None:
    found = heat_map([(20, 30)], input_size=64, fwhm=10)
    assert found[30, 20] == 1
    assert found[30, 25] == pytest.approx(0.5)
    assert found[35, 20] == pytest.approx(0.5)
    assert not heat_map([], input_size=64, fwhm=10).any()


def test_first_maps_pass_unchanged_and_later_ones_are_whole_numbers() -> None:
    first = guidance_maps([(20, 20)], [(5, 5)], input_size=64, fwhm=10)
    assert add_clicks(first, [], [], fwhm=10) is first
    later = add_clicks(first, [(40, 40)], [(60, 10)], fwhm=10)
    assert (later == np.floor(later)).all()
    assert later[0, 40, 40] == later[0, 20, 20] == 255
    assert later[1, 10, 60] == later[1, 5, 5] == 255
    assert (later >= np.floor(first)).all()


def test_later_maps_equal_the_official_ones() -> None:
    first, second = (maps[0].numpy() for maps in reference.click_maps())
    np.testing.assert_array_equal(add_clicks(first, [(180, 300)], [(380, 120)], fwhm=10), second)


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)))
def test_the_most_interior_point_is_inside_and_deepest(mask: np.ndarray) -> None:
    point = most_interior_point(mask)
    if not mask.any():
        assert point is None
        return
    assert point is not None
    x, y = point
    assert mask[y, x]
    outside = np.argwhere(~np.pad(mask, 1)) - 1

    def depth(row: int, column: int) -> float:
        return float(((outside - (row, column)) ** 2).sum(axis=1).min())

    assert depth(y, x) == max(depth(*pixel) for pixel in np.argwhere(mask))


@given(st.integers(3, 20), st.integers(3, 20))
def test_the_edge_of_the_map_counts_as_outside(height: int, width: int) -> None:
    point = most_interior_point(np.ones((height, width), np.bool_))
    assert point is not None
    depths = (point[0] + 1, point[1] + 1, width - point[0], height - point[1])
    assert min(depths) == (min(height, width) + 1) // 2


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    blobs=st.lists(st.tuples(*[st.integers(0, 200)] * 4), min_size=1, max_size=4),
    holes=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 199)), max_size=4),
)
def test_the_most_interior_point_is_that_of_the_exact_distances(
    height: int, width: int, blobs: list[tuple[int, ...]], holes: list[tuple[int, int]]
) -> None:
    canvas = np.zeros((height, width), np.uint8)
    for x, y, a, b in blobs:
        cv2.ellipse(canvas, (x, y), (a, b), 0, 0, 360, (1,), -1)
    for x, y in holes:
        canvas[y % height, x % width] = 0
    mask = canvas.astype(np.bool_)
    if not mask.any():
        return
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]  # in float64
    row, column = np.unravel_index(int(np.argmax(depth)), mask.shape)
    assert most_interior_point(mask) == (int(column), int(row))
