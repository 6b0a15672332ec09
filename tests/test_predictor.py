from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dataloaders.geometry import Crop, CropRule
from dataloaders.guidance import guidance_maps
from iog.cache import ByteCache
from iog.predictor import Predictor, Prompt

RULE = CropRule(frame=64, margin_px=10, corner_offset=3, fwhm=5)
IMAGE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
BOX = (40.0, 30.0, 100.0, 90.0)
CACHE_BYTES = 1 << 20


class RecordingEngine:
    """Keeps what it was given and answers with a disc at ``answer`` (network frame)."""

    def __init__(self, *, refines: bool, answer: tuple[int, int] = (20, 40)) -> None:
        self.refines = refines
        self.inputs: list[NDArray[np.float32]] = []
        self.clicks: list[NDArray[np.float32]] = []
        yy, xx = np.mgrid[:64, :64]
        distance: NDArray[np.int64] = (xx - answer[0]) ** 2 + (yy - answer[1]) ** 2
        self.probability: NDArray[np.float32] = (distance < 60).astype(np.float32)

    def encode(self, x: NDArray[np.float32]) -> int:
        self.inputs.append(x)
        return len(self.inputs)

    def decode(self, encoded: int, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        self.clicks.append(clicks)
        return self.probability

    def nbytes(self, encoded: int) -> int:
        return 1


def _predictor(engine: RecordingEngine, cache: ByteCache | None = None) -> Predictor[int]:
    return Predictor(engine, RULE, threshold=0.5, cache=cache)


def _peak(plane: NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(plane.argmax()), plane.shape)
    return int(column), int(row)


def test_the_network_sees_colours_the_click_and_all_four_corners() -> None:
    engine = RecordingEngine(refines=True)
    _predictor(engine).predict(IMAGE, Prompt(BOX, ((60.0, 50.0),)))
    (x,) = engine.inputs
    crop = Crop.around(BOX, RULE)
    np.testing.assert_array_equal(x[:3], crop.extract(IMAGE).transpose(2, 0, 1))
    assert _peak(x[3]) == crop.pixel((60.0, 50.0))
    corners = crop.outside_points()
    assert len(set(corners)) == 4
    assert [x[4][row, column] for column, row in corners] == [255] * 4


class TestRefinement:
    def test_the_first_maps_also_go_to_the_click_branch(self) -> None:
        engine = RecordingEngine(refines=True)
        _predictor(engine).predict(IMAGE, Prompt(BOX, ((60.0, 50.0),)))
        np.testing.assert_array_equal(engine.clicks[0], engine.inputs[0][3:])

    def test_later_clicks_go_to_the_click_branch_only(self) -> None:
        engine = RecordingEngine(refines=True)
        predictor, crop = _predictor(engine), Crop.around(BOX, RULE)
        predictor.predict(IMAGE, Prompt(BOX, ((60.0, 50.0),)))
        predictor.predict(IMAGE, Prompt(BOX, ((60.0, 50.0), (80.0, 80.0)), ((45.0, 85.0),)))
        np.testing.assert_array_equal(engine.inputs[0], engine.inputs[1])
        inside, outside = engine.clicks[1]
        column, row = crop.pixel((80.0, 80.0))
        assert inside[row, column] == 255
        column, row = crop.pixel((45.0, 85.0))
        assert outside[row, column] == 255

    def test_the_next_click_on_the_same_box_is_not_encoded_again(self) -> None:
        engine, cache = RecordingEngine(refines=True), ByteCache(CACHE_BYTES)
        predictor = _predictor(engine, cache)
        first = Prompt(BOX, ((60.0, 50.0),))
        predictor.predict(IMAGE, first, image_key="a")
        predictor.predict(IMAGE, Prompt(BOX, ((60.0, 50.0), (80.0, 80.0))), image_key="a")
        assert (len(engine.inputs), len(engine.clicks)) == (1, 2)
        predictor.predict(IMAGE, first, image_key="b")
        predictor.predict(IMAGE, Prompt(BOX, ((61.5, 50.0),)), image_key="a")
        predictor.predict(IMAGE, Prompt((40, 30, 101, 90), ((60.0, 50.0),)), image_key="a")
        assert len(engine.inputs) == 4

    def test_without_a_key_nothing_is_cached(self) -> None:
        engine, cache = RecordingEngine(refines=True), ByteCache(CACHE_BYTES)
        predictor = _predictor(engine, cache)
        for _ in range(2):
            predictor.predict(IMAGE, Prompt(BOX, ((60.0, 50.0),)))
        assert len(engine.inputs) == 2
        assert len(cache) == 0


def test_without_a_click_branch_all_clicks_go_into_the_input() -> None:
    engine, crop = RecordingEngine(refines=False), Crop.around(BOX, RULE)
    prompt = Prompt(BOX, ((60.0, 50.0), (80.0, 80.0)), ((45.0, 85.0),))
    _predictor(engine).predict(IMAGE, prompt)
    expected = guidance_maps(
        [crop.pixel(p) for p in prompt.pos_points],
        [*crop.outside_points(), crop.pixel(prompt.neg_points[0])],
        frame=64,
        fwhm=5,
    )
    np.testing.assert_array_equal(engine.inputs[0][3:], expected)


class TestBoxOnly:
    def test_centre_first_then_the_most_interior_pixel(self) -> None:
        engine = RecordingEngine(refines=True, answer=(20, 40))
        _predictor(engine).predict(IMAGE, Prompt(BOX))
        centre = Crop.around(BOX, RULE).pixel((70.0, 60.0))
        assert [_peak(x[3]) for x in engine.inputs] == [centre, (20, 40)]

    def test_no_second_pass_where_it_would_be_the_same(self) -> None:
        centre = Crop.around(BOX, RULE).pixel((70.0, 60.0))
        engine = RecordingEngine(refines=True, answer=centre)
        _predictor(engine).predict(IMAGE, Prompt(BOX))
        assert len(engine.inputs) == 1

    def test_an_empty_first_mask_stays(self) -> None:
        engine = RecordingEngine(refines=True, answer=(-50, -50))
        found = _predictor(engine).predict(IMAGE, Prompt(BOX))
        assert not found.probability.any()
        assert len(engine.inputs) == 1

    def test_negative_clicks_are_heard(self) -> None:
        engine, crop = RecordingEngine(refines=True), Crop.around(BOX, RULE)
        _predictor(engine).predict(IMAGE, Prompt(BOX, (), ((45.0, 85.0),)))
        column, row = crop.pixel((45.0, 85.0))
        assert engine.clicks[-1][1][row, column] == 255

    def test_negative_clicks_do_not_move_the_point_nor_encode_again(self) -> None:
        engine, cache = RecordingEngine(refines=True), ByteCache(CACHE_BYTES)
        predictor = _predictor(engine, cache)
        for negatives in ((), ((45.0, 85.0),), ((45.0, 85.0), (95.0, 35.0))):
            predictor.predict(IMAGE, Prompt(BOX, (), negatives), image_key="a")
        assert [_peak(x[3]) for x in engine.inputs][1:] == [(20, 40)]
        assert len(engine.clicks) == 4  # the box alone is looked at once


@pytest.mark.parametrize("click", [(-500.0, 60.0), (70.0, 1e6)])
def test_a_click_outside_the_crop_moves_to_its_edge(click: tuple[float, float]) -> None:
    engine = RecordingEngine(refines=True)
    _predictor(engine).predict(IMAGE, Prompt(BOX, (click,)))
    assert engine.inputs[0][3].max() == 255


@pytest.mark.parametrize("refines", [True, False])
def test_of_an_image_only_windows_that_were_not_seen_yet_are_asked_for(refines: bool) -> None:
    engine, asked = RecordingEngine(refines=refines), list[Crop]()

    def window(crop: Crop) -> NDArray[np.float32]:
        asked.append(crop)
        return crop.extract(IMAGE)

    predictor = _predictor(engine, ByteCache(CACHE_BYTES))
    for clicks in (((60.0, 50.0),), ((60.0, 50.0), (80.0, 80.0)), ((70.0, 50.0),)):
        predictor.predict(window, Prompt(BOX, clicks), image_key="a")
    assert asked == [Crop.around(BOX, RULE)]
    plain = RecordingEngine(refines=refines)
    _predictor(plain).predict(IMAGE, Prompt(BOX, ((70.0, 50.0),)))
    np.testing.assert_array_equal(engine.inputs[-1], plain.inputs[0])
