from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataloaders import geometry
from dataloaders.geometry import Box, Crop, CropRule, clamp_box, clamp_point
from tests import reference

PUBLISHED = CropRule()
LITE = CropRule(
    input_size=256, margin_px=6, margin_ratio=0.18, corner_offset=5, fwhm=7, antialias=True
)
RULES = st.sampled_from([PUBLISHED, LITE])
COORDINATES = st.floats(-300, 900)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(COORDINATES), draw(COORDINATES)
    return x, y, x + draw(st.floats(0.01, 900)), y + draw(st.floats(0.01, 900))


def _tight_box(name: str) -> Box:
    mask, _ = reference.case_masks(name)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


@pytest.mark.parametrize("name", reference.CASES)
class TestOfficialTransforms:
    def test_window(self, name: str) -> None:
        crop = Crop.around(_tight_box(name), PUBLISHED)
        inclusive = [crop.left, crop.top, crop.left + crop.width - 1, crop.top + crop.height - 1]
        assert inclusive == reference.case_figures(name)["bbox"]
        assert [crop.height, crop.width] == reference.case_figures(name)["crop_hw"]

    def test_colours(self, name: str) -> None:
        arrays = reference.preprocessing()
        found = Crop.around(_tight_box(name), PUBLISHED).extract(arrays[f"{name}/image"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found.transpose(2, 0, 1)[:, ::8, ::8], arrays[f"{name}/concat_rgb"], atol=1e-3
        )

    def test_mask_and_void(self, name: str) -> None:
        arrays = reference.preprocessing()
        crop = Crop.around(_tight_box(name), PUBLISHED)
        mask, void = (m.astype(np.uint8) for m in reference.case_masks(name))
        np.testing.assert_allclose(
            crop.extract(mask)[::4, ::4], arrays[f"{name}/crop_gt"], atol=1e-5
        )
        np.testing.assert_allclose(
            crop.extract(void)[::8, ::8], arrays[f"{name}/crop_void"], atol=1e-5
        )

    def test_outside_points(self, name: str) -> None:
        points = reference.case_figures(name)["points_xy_center_lt_lb_rt_rb"][1:]
        found = Crop.around(_tight_box(name), PUBLISHED).outside_points()
        assert [list(p) for p in found] == points

    def test_pasting_back(self, name: str) -> None:
        arrays = reference.preprocessing()
        image = arrays[f"{name}/image"]
        crop = Crop.around(_tight_box(name), PUBLISHED)
        pasted = crop.paste(reference.prediction(), (image.shape[0], image.shape[1]))
        np.testing.assert_allclose(pasted[::2, ::2], arrays[f"{name}/fullmask"], atol=1e-4)


@given(boxes(), RULES)
def test_the_box_is_covered_and_has_its_margin(box: Box, rule: CropRule) -> None:
    crop = Crop.around(box, rule)
    x0, y0, x1, y1 = crop.box
    assert x0 <= box[0] < x0 + 1
    assert y0 <= box[1] < y0 + 1
    assert x1 - 1 < box[2] <= x1 or x1 == x0 + 1
    assert y1 - 1 < box[3] <= y1 or y1 == y0 + 1
    longer = max(x1 - x0, y1 - y0)
    for side, start, origin, size, end in (
        (x1 - x0, x0, crop.left, crop.width, x1),
        (y1 - y0, y0, crop.top, crop.height, y1),
    ):
        margin = max(rule.margin_px, min(rule.margin_ratio * longer, 2 * side))
        assert start - origin == pytest.approx(margin, abs=0.5)
        assert origin + size - end == start - origin


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_a_window_is_never_many_times_its_box(width: int, height: int) -> None:
    crop = Crop.around((0, 0, width, height), LITE)
    assert crop.width * crop.height <= 7 * (width + 12) * (height + 12)


@pytest.mark.parametrize(
    "box", [(-40, 300, 1700, 2100), (10, 20, 1500, 1490), (900, 0, 2600, 1600)]
)
def test_sampling_a_large_window_equals_resizing_it(box: Box) -> None:
    crop = Crop.around(box, PUBLISHED)
    image = np.random.default_rng(0).integers(0, 255, (1800, 2000, 3), dtype=np.uint8)
    padded = np.zeros((crop.height, crop.width, 3), np.float32)
    x0, y0, x1, y1 = crop.visible((1800, 2000))
    inside = np.s_[y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left]
    padded[inside] = image[y0:y1, x0:x1]
    expected = cv2.resize(padded, (512, 512), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(crop.extract(image), expected, atol=1e-3)
    np.testing.assert_allclose(
        crop.extract(np.ascontiguousarray(image[..., 0])), expected[..., 0], atol=1e-3
    )


@given(boxes(), RULES)
def test_pasting_in_strips_equals_resizing_the_whole_window(box: Box, rule: CropRule) -> None:
    crop = Crop.around(box, rule)
    probability = np.random.default_rng(0).random(
        (rule.input_size, rule.input_size), dtype=np.float32
    )
    whole = cv2.resize(probability, (crop.width, crop.height), interpolation=cv2.INTER_CUBIC)
    x0, y0, x1, y1 = crop.visible((300, 400))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "STRIP_PIXELS", 7 * crop.width)
        pasted = crop.paste(probability, (300, 400))
    if x0 < x1 and y0 < y1:
        expected = whole[y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left]
        np.testing.assert_allclose(pasted[y0:y1, x0:x1], expected, atol=1e-4)
    assert pasted[y0:y1, x0:x1].size == max(0, x1 - x0) * max(0, y1 - y0) or not pasted.any()


@given(boxes(), RULES, COORDINATES, COORDINATES)
def test_points_come_back(box: Box, rule: CropRule, x: float, y: float) -> None:
    crop = Crop.around(box, rule)
    assert crop.to_image(crop.to_network((x, y))) == pytest.approx((x, y), abs=1e-6)


@given(boxes(), RULES, COORDINATES, COORDINATES)
def test_every_point_falls_on_a_pixel_of_the_frame(
    box: Box, rule: CropRule, x: float, y: float
) -> None:
    crop = Crop.around(box, rule)
    column, row = crop.pixel((x, y))
    assert 0 <= column < rule.input_size
    assert 0 <= row < rule.input_size
    back = crop.to_image((column + 0.5, row + 0.5))
    if 0 <= x - crop.left < crop.width and 0 <= y - crop.top < crop.height:
        assert abs(back[0] - x) <= 0.51 / crop.scale[0] + 1e-6
        assert abs(back[1] - y) <= 0.51 / crop.scale[1] + 1e-6


@given(st.integers(0, 250), st.integers(1, 700))
def test_box_in_the_network_frame_is_where_a_filled_box_lands(start: int, width: int) -> None:
    crop = Crop.around((start, 0, start + width, 10), PUBLISHED)
    mask = np.zeros((10, start + width + 5), np.uint8)
    mask[:, start : start + width] = 1
    columns = np.flatnonzero((crop.extract(mask) > 0.5).any(axis=0))
    left, _, right = (crop.outside_points()[i] for i in (0, 1, 2))
    assert left[0] == max(columns[0] - PUBLISHED.corner_offset, 0)
    assert right[0] == min(columns[-1] + PUBLISHED.corner_offset, PUBLISHED.input_size)


@given(boxes(), RULES, st.integers(1, 400), st.integers(1, 400))
def test_masks_come_back(box: Box, rule: CropRule, height: int, width: int) -> None:
    """A mask cut out and pasted back is the mask, up to a seam as wide as a network pixel."""
    crop = Crop.around(box, rule)
    x0, y0, x1, y1 = crop.visible((height, width))
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -(-3 * height // 4), width // 4 : -(-3 * width // 4)] = 1
    pasted = crop.paste(crop.extract(mask), (height, width)) > 0.5
    assert pasted.shape == mask.shape
    assert not pasted[: max(y0, 0)].any()
    assert not pasted[:, : max(x0, 0)].any()
    if x0 >= x1 or y0 >= y1:
        assert not pasted.any()
        return
    reach = [int(np.ceil(1.5 / s)) + 1 for s in crop.scale]
    seam = np.ones((2 * reach[1] + 1, 2 * reach[0] + 1), np.uint8)
    sure_in = cv2.erode(mask, seam, borderValue=1)[y0:y1, x0:x1].astype(bool)
    sure_out = ~cv2.dilate(mask, seam)[y0:y1, x0:x1].astype(bool)
    inner = pasted[y0:y1, x0:x1]
    edge = np.zeros_like(inner)
    edge[reach[1] : -reach[1] or None, reach[0] : -reach[0] or None] = True
    assert inner[sure_in & edge].all()
    assert not inner[sure_out & edge].any()


@given(boxes(), RULES)
def test_outside_the_image_there_are_zeros(box: Box, rule: CropRule) -> None:
    crop = Crop.around(box, rule)
    image = np.full((120, 160, 3), 200, np.uint8)
    found = crop.extract(image)
    assert found.shape == (rule.input_size, rule.input_size, 3)
    x0, y0, x1, y1 = crop.visible((120, 160))
    if x0 >= x1 or y0 >= y1:
        assert not found.any()
    elif (x1 - x0, y1 - y0) == (crop.width, crop.height):
        assert (found == 200).all()
    else:
        shown = (x1 - x0) * (y1 - y0) / (crop.width * crop.height)
        assert found.mean() / 200 == pytest.approx(shown, abs=0.02)


def test_shrinking_averages_only_for_weights_trained_that_way() -> None:
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 200
    box = (200, 200, 800, 800)
    averaged = Crop.around(box, LITE).extract(stripes)[64:192, 64:192]
    sampled = Crop.around(box, PUBLISHED).extract(stripes)[128:384, 128:384]
    assert averaged.std() < 20 < sampled.std()


@given(boxes(), st.integers(1, 500), st.integers(1, 500))
def test_clamped_boxes_lie_inside(box: Box, height: int, width: int) -> None:
    clamped = clamp_box(box, (height, width))
    overlaps = box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0
    assert (clamped is not None) == overlaps
    if clamped is not None:
        assert 0 <= clamped[0] < clamped[2] <= width
        assert 0 <= clamped[1] < clamped[3] <= height


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_clamped_points_lie_on_a_pixel(x: float, y: float) -> None:
    column, row = clamp_point((x, y), (0, 0, 40, 30))
    assert 0.5 <= column <= 39.5
    assert 0.5 <= row <= 29.5
    assert clamp_point((column, row), (0, 0, 40, 30)) == (column, row)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_size", 0),
        ("input_size", 250),
        ("fwhm", 0),
        ("margin_px", -1),
        ("margin_ratio", float("nan")),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(PUBLISHED, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [PUBLISHED, LITE])
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 40_000)])
def test_line_images_take_little_memory(rule: CropRule, size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 90, np.uint8)
    crop = Crop.around((0, 0, width, height), rule)
    tracemalloc.start()
    extracted = crop.extract(image)
    area = sum(values.size for values, _ in crop.paste_strips(extracted[..., 0], size))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert area == height * width
    assert peak < 250e6


@pytest.mark.parametrize("box", [(3, 5, 910, 800), (-700, -20, 900, 1100), (10, 900, 2300, 3100)])
def test_averaging_in_blocks_first_changes_nothing_to_speak_of(box: Box) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    image = cv2.resize(small, (1203, 1101), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    crop = Crop.around(box, LITE)
    assert crop.reduction > 1
    window = np.zeros((crop.height, crop.width, 3), np.float32)
    x0, y0, x1, y1 = crop.visible(image.shape[:2])
    inside = np.s_[y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left]
    window[inside] = image[y0:y1, x0:x1]
    expected = cv2.resize(window, (256, 256), interpolation=cv2.INTER_AREA)
    difference = np.abs(crop.extract(image) - expected)
    assert np.quantile(difference, 0.98) <= 1.5  # rounded twice; more where the image ends
    assert difference.mean() < 0.5


def test_a_window_outside_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    crop = Crop.around((2000, 2000, 4000, 4000), LITE)
    assert crop.reduction > 1
    assert not crop.extract(image).any()


def test_windows_of_the_published_rule_are_never_changed() -> None:
    crop = Crop.around((13, 17, 9001, 8003), PUBLISHED)
    assert (crop.reduction, crop.left, crop.top) == (1, -17, -13)
    assert (crop.width, crop.height) == (9048, 8046)
