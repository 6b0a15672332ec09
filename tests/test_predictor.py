from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import iog
from dataloaders.geometry import Crop, CropRule
from dataloaders.guidance import guidance_maps
from iog.cache import Cache
from iog.decoding import read_pixels
from iog.errors import SettingsError, UnusableRequest
from iog.image import Image
from iog.masks import Mask
from iog.models.spec import REGISTRY
from iog.predictor import Predictor, load
from iog.prompts import Prompt

RULE = CropRule(input_size=64, margin_px=10, corner_offset=3, fwhm=5)
IMAGE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
BOX = (40.0, 30.0, 100.0, 90.0)
CACHE_BYTES = 1 << 20
ROOT = Path(__file__).parent.parent


class RecordingEngine:
    """Keeps what it was given and answers with a disc at ``answer`` (network frame)."""

    spec = replace(REGISTRY["iog-lite"], crop=RULE, threshold=0.5)
    name, device, precision = "recording", "cpu", "fp32"

    def __init__(
        self, *, has_click_branch: bool, answer: tuple[int, int] = (20, 40), click_maps: int = 2
    ) -> None:
        self.has_click_branch = has_click_branch
        self.click_maps = click_maps
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


def _predictor(engine: RecordingEngine, cache: Cache | None = None) -> Predictor[int]:
    return Predictor(engine, cache=cache)


def ask(
    predictor: Predictor[int], prompt: Prompt, *, key: str | None = None
) -> NDArray[np.float32]:
    predictor.set_image(Image(IMAGE, key=key))
    return predictor.probability(prompt)


def _peak(plane: NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(plane.argmax()), plane.shape)
    return int(column), int(row)


def test_the_network_sees_colours_the_click_and_all_four_corners() -> None:
    engine = RecordingEngine(has_click_branch=True)
    ask(_predictor(engine), Prompt(BOX, ((60.0, 50.0),)))
    (x,) = engine.inputs
    crop = Crop.around(BOX, RULE)
    np.testing.assert_array_equal(x[:3], crop.extract(IMAGE).transpose(2, 0, 1))
    assert _peak(x[3]) == crop.pixel((60.0, 50.0))
    corners = crop.outside_points()
    assert len(set(corners)) == 4
    assert [x[4][row, column] for column, row in corners] == [255] * 4


class TestRefinement:
    def test_the_first_maps_also_go_to_the_click_branch(self) -> None:
        engine = RecordingEngine(has_click_branch=True)
        ask(_predictor(engine), Prompt(BOX, ((60.0, 50.0),)))
        np.testing.assert_array_equal(engine.clicks[0], engine.inputs[0][3:])

    def test_later_clicks_go_to_the_click_branch_only(self) -> None:
        engine = RecordingEngine(has_click_branch=True)
        predictor, crop = _predictor(engine), Crop.around(BOX, RULE)
        ask(predictor, Prompt(BOX, ((60.0, 50.0),)))
        ask(predictor, Prompt(BOX, ((60.0, 50.0), (80.0, 80.0)), ((45.0, 85.0),)))
        np.testing.assert_array_equal(engine.inputs[0], engine.inputs[1])
        inside, outside = engine.clicks[1]
        column, row = crop.pixel((80.0, 80.0))
        assert inside[row, column] == 255
        column, row = crop.pixel((45.0, 85.0))
        assert outside[row, column] == 255

    def test_the_next_click_on_the_same_box_is_not_encoded_again(self) -> None:
        engine, cache = RecordingEngine(has_click_branch=True), Cache(CACHE_BYTES)
        predictor = _predictor(engine, cache)
        first = Prompt(BOX, ((60.0, 50.0),))
        ask(predictor, first, key="a")
        ask(predictor, Prompt(BOX, ((60.0, 50.0), (80.0, 80.0))), key="a")
        assert (len(engine.inputs), len(engine.clicks)) == (1, 2)
        ask(predictor, first, key="b")
        ask(predictor, Prompt(BOX, ((61.5, 50.0),)), key="a")
        ask(predictor, Prompt((40, 30, 101, 90), ((60.0, 50.0),)), key="a")
        assert len(engine.inputs) == 4

    def test_images_without_a_key_are_never_taken_for_each_other(self) -> None:
        engine = RecordingEngine(has_click_branch=True)
        predictor = _predictor(engine, Cache(CACHE_BYTES))
        for _ in range(2):
            ask(predictor, Prompt(BOX, ((60.0, 50.0),)))
        assert len(engine.inputs) == 2
        predictor.probability(Prompt(BOX, ((60.0, 50.0),)))  # of the same image
        assert len(engine.inputs) == 2


def test_without_a_click_branch_all_clicks_go_into_the_input() -> None:
    engine, crop = RecordingEngine(has_click_branch=False), Crop.around(BOX, RULE)
    prompt = Prompt(BOX, ((60.0, 50.0), (80.0, 80.0)), ((45.0, 85.0),))
    ask(_predictor(engine), prompt)
    expected = guidance_maps(
        [crop.pixel(p) for p in prompt.pos_points],
        [*crop.outside_points(), crop.pixel(prompt.neg_points[0])],
        input_size=64,
        fwhm=5,
    )
    np.testing.assert_array_equal(engine.inputs[0][3:], expected)


class TestBoxOnly:
    def test_centre_first_then_the_most_interior_pixel(self) -> None:
        engine = RecordingEngine(has_click_branch=True, answer=(20, 40))
        ask(_predictor(engine), Prompt(BOX))
        centre = Crop.around(BOX, RULE).pixel((70.0, 60.0))
        assert [_peak(x[3]) for x in engine.inputs] == [centre, (20, 40)]

    def test_no_second_pass_where_it_would_be_the_same(self) -> None:
        centre = Crop.around(BOX, RULE).pixel((70.0, 60.0))
        engine = RecordingEngine(has_click_branch=True, answer=centre)
        ask(_predictor(engine), Prompt(BOX))
        assert len(engine.inputs) == 1

    @pytest.mark.parametrize(("beside", "passes"), [(4, 1), (7, 2)])
    def test_no_second_pass_where_the_centre_is_deep_enough(self, beside: int, passes: int) -> None:
        """The answer is a disc of radius 7; a quarter of its depth is less than 2 pixels."""
        column, row = Crop.around(BOX, RULE).pixel((70.0, 60.0))
        engine = RecordingEngine(has_click_branch=True, answer=(column + beside, row))
        ask(_predictor(engine), Prompt(BOX))
        assert len(engine.inputs) == passes

    def test_an_empty_first_mask_stays(self) -> None:
        engine = RecordingEngine(has_click_branch=True, answer=(-50, -50))
        found = ask(_predictor(engine), Prompt(BOX))
        assert not found.any()
        assert len(engine.inputs) == 1

    def test_negative_clicks_are_heard(self) -> None:
        engine, crop = RecordingEngine(has_click_branch=True), Crop.around(BOX, RULE)
        ask(_predictor(engine), Prompt(BOX, (), ((45.0, 85.0),)))
        column, row = crop.pixel((45.0, 85.0))
        assert engine.clicks[-1][1][row, column] == 255

    def test_negative_clicks_do_not_move_the_point_nor_encode_again(self) -> None:
        engine, cache = RecordingEngine(has_click_branch=True), Cache(CACHE_BYTES)
        predictor = _predictor(engine, cache)
        for negatives in ((), ((45.0, 85.0),), ((45.0, 85.0), (95.0, 35.0))):
            ask(predictor, Prompt(BOX, (), negatives), key="a")
        assert [_peak(x[3]) for x in engine.inputs][1:] == [(20, 40)]
        assert len(engine.clicks) == 4  # the box alone is looked at once


@pytest.mark.parametrize("click", [(-500.0, 60.0), (70.0, 1e6)])
def test_a_click_outside_the_crop_moves_to_its_edge(click: tuple[float, float]) -> None:
    engine = RecordingEngine(has_click_branch=True)
    ask(_predictor(engine), Prompt(BOX, (click,)))
    assert engine.inputs[0][3].max() == 255


@pytest.mark.parametrize("has_click_branch", [True, False])
def test_of_an_image_only_windows_that_were_not_seen_yet_are_asked_for(
    has_click_branch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, asked = RecordingEngine(has_click_branch=has_click_branch), list[Crop]()

    def window(self: Image, crop: Crop) -> NDArray[np.float32]:
        asked.append(crop)
        return crop.extract(IMAGE)

    monkeypatch.setattr(Image, "window", window)
    predictor = _predictor(engine, Cache(CACHE_BYTES))
    for clicks in (((60.0, 50.0),), ((60.0, 50.0), (80.0, 80.0)), ((70.0, 50.0),)):
        ask(predictor, Prompt(BOX, clicks), key="a")
    assert asked == [Crop.around(BOX, RULE)]
    plain = RecordingEngine(has_click_branch=has_click_branch)
    ask(_predictor(plain), Prompt(BOX, ((70.0, 50.0),)))
    np.testing.assert_array_equal(engine.inputs[-1], plain.inputs[0])


def test_a_click_on_the_object_and_one_on_the_background_are_two_things() -> None:
    """For a network without a click branch, whose crop depends on all clicks."""
    engine = RecordingEngine(has_click_branch=False)
    predictor = _predictor(engine, Cache(CACHE_BYTES))
    ask(predictor, Prompt(BOX, ((60.0, 50.0), (80.0, 80.0))), key="a")
    ask(predictor, Prompt(BOX, ((60.0, 50.0),), ((80.0, 80.0),)), key="a")
    assert len(engine.inputs) == 2


# --- the Python API --------------------------------------------------------------------------

CLICK = (60.0, 50.0)


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine(has_click_branch=True)


@pytest.fixture
def predictor(engine: RecordingEngine) -> Predictor[int]:
    made = _predictor(engine, Cache(CACHE_BYTES))
    made.set_image(IMAGE)
    return made


def test_a_mask_is_the_probability_above_the_threshold(predictor: Predictor[int]) -> None:
    mask = predictor.predict(BOX, [CLICK], [1])
    probability = predictor.probability(Prompt(BOX, (CLICK,)))
    np.testing.assert_array_equal(mask.array, probability > 0.5)
    assert mask.array.shape == mask.size == (120, 160)
    assert mask.area == mask.array.sum() > 0
    assert mask.score == pytest.approx(np.minimum(probability, 1)[mask.array].mean(), abs=1e-6)
    assert predictor.predict(BOX, [CLICK], threshold=0.9).area < mask.area
    assert min(predictor.timings.values()) > 0


def test_prompts_may_be_arrays_and_corners_in_any_order(predictor: Predictor[int]) -> None:
    plain = predictor.predict(BOX, [CLICK, (45, 85)], [1, 0])
    x1, y1, x2, y2 = BOX
    other = predictor.predict(
        np.array([x2, y1, x1, y2]), np.array([(45, 85), CLICK]), np.array([False, True])
    )
    np.testing.assert_array_equal(plain.array, other.array)
    assert plain.prompt == other.prompt == Prompt(BOX, (CLICK,), ((45.0, 85.0),))


def test_every_box_gets_a_mask_and_every_click_its_box(
    predictor: Predictor[int], engine: RecordingEngine
) -> None:
    other = (110.0, 20.0, 150.0, 60.0)
    first, second = predictor.predict_boxes([BOX, other], [(130, 40), CLICK], [1, 1])
    assert first.prompt == Prompt(BOX, (CLICK,))
    assert second.prompt == Prompt(other, ((130.0, 40.0),))
    again = predictor.predict(other, [(130, 40)])
    np.testing.assert_array_equal(second.array, again.array)
    assert len(engine.inputs) == 2
    assert predictor.predict_boxes([]) == []


def test_options_clean_the_mask(predictor: Predictor[int], engine: RecordingEngine) -> None:
    engine.probability[5:8, 5:8] = 1
    engine.probability[40, 20] = 0
    plain = predictor.predict(BOX, [CLICK])
    clean = predictor.predict(BOX, [CLICK], largest=1, fill_holes=50)
    assert len(plain.polygon()) == 2
    ((outer, holes),) = [(part["exterior"], part["holes"]) for part in clean.polygon()]
    assert outer
    assert not holes
    assert clean.prompt == plain.prompt


def test_a_further_click_on_a_mask_is_a_further_click_and_decodes_only(
    predictor: Predictor[int], engine: RecordingEngine
) -> None:
    mask = predictor.predict(BOX, [CLICK], [1])
    better = predictor.predict(mask_input=mask, point_coords=[(45, 85)], point_labels=[0])
    assert better.prompt == Prompt(BOX, (CLICK,), ((45.0, 85.0),))
    assert (len(engine.inputs), len(engine.clicks)) == (1, 2)
    crop = Crop.around(BOX, RULE)
    column, row = crop.pixel((45.0, 85.0))
    assert engine.clicks[-1][1][row, column] == 255


def test_a_mask_of_a_box_alone_remembers_its_inside_point(
    predictor: Predictor[int], engine: RecordingEngine
) -> None:
    mask = predictor.predict(BOX)
    assert [_peak(x[3]) for x in engine.inputs][1:] == [(20, 40)]
    predictor.predict(mask_input=mask, point_coords=[(80, 80)], point_labels=[1])
    assert len(engine.inputs) == 2  # the click corrects; the inside point stays


def test_a_mask_of_another_image_is_only_pixels(
    predictor: Predictor[int], engine: RecordingEngine
) -> None:
    mask = predictor.predict(BOX, [CLICK], [1])
    predictor.set_image(IMAGE.copy())
    unclicked = predictor.predict(mask_input=mask)
    assert unclicked.prompt is None
    np.testing.assert_array_equal(unclicked.array, mask.array)
    again = predictor.predict(mask_input=mask, point_coords=[CLICK])
    assert again.prompt is not None
    assert mask.box is not None
    assert again.prompt.box == tuple(map(float, mask.box))
    assert 2 <= len(again.prompt.pos_points) + len(again.prompt.neg_points) <= 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"box": (1, 2, 3)}, r"box is \[3\], not \[4\]\."),
        ({"box": [BOX]}, r"box is \[1, 4\], not \[4\]\."),
        ({"box": "1234"}, "four finite numbers"),
        ({"box": BOX, "threshold": 1.0}, "threshold is 1.0; it must be above 0 and below 1"),
        ({"box": BOX, "largest": True}, "largest"),
        ({"box": (1, 2, 3, np.nan)}, "four finite numbers"),
        ({"box": BOX, "point_coords": [1, 2]}, "point_coords"),
        ({"box": BOX, "point_coords": [CLICK], "point_labels": [1, 0]}, "point_labels"),
        ({"box": BOX, "point_coords": [CLICK], "point_labels": [2]}, "point_labels"),
        ({"mask_input": np.ones((3, 4))}, "The mask is"),
        ({"mask_input": np.zeros((120, 160))}, "empty"),
        ({"mask_input": {"size": [120, 160]}}, "Run lengths"),
        ({"box": BOX, "largest": 0}, "largest"),
    ],
)
def test_arguments_that_cannot_be_used(
    predictor: Predictor[int], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        predictor.predict(**arguments)


def test_without_box_and_mask_and_without_an_image(predictor: Predictor[int]) -> None:
    with pytest.raises(UnusableRequest, match="no box"):
        predictor.predict(point_coords=[CLICK])
    with pytest.raises(UnusableRequest, match=r"Box 2 .* outside the image of 160 x 120"):
        predictor.predict_boxes([BOX, (500, 500, 600, 600)])
    predictor.reset_image()
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.predict(BOX)


def test_a_new_box_drops_clicks_on_the_object_outside_it(predictor: Predictor[int]) -> None:
    mask = predictor.predict(BOX)
    assert mask.prompt is not None
    other = (80.0, 30.0, 150.0, 90.0)
    moved = predictor.predict(other, mask_input=mask)
    assert moved.prompt == predictor.predict(other).prompt
    again = predictor.predict((41, 30, 100, 90), mask_input=mask)
    assert again.prompt == Prompt((41, 30, 100, 90), mask.prompt.pos_points)


def test_predictors_that_share_a_cache_share_no_crops() -> None:
    cache, image = Cache(CACHE_BYTES), Image(IMAGE)
    engines = [RecordingEngine(has_click_branch=True, answer=at) for at in ((20, 40), (40, 20))]
    predictors = [_predictor(engine, cache) for engine in engines]
    for predictor in predictors:
        predictor.set_image(image)
        predictor.predict(BOX)
    assert [_peak(engine.inputs[-1][3]) for engine in engines] == [(20, 40), (40, 20)]


def test_a_predictor_says_what_it_is(predictor: Predictor[int]) -> None:
    assert "engine='recording'" in repr(predictor)
    assert repr(predictor.image).startswith("Image(size=(120, 160), key=")
    with pytest.raises(ValueError, match="threshold is 0"):
        Predictor(RecordingEngine(has_click_branch=True), threshold=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "foo"}, "engine is 'foo'; it must be one of: auto, torch, openvino."),
        ({"precision": "int8"}, "precision is 'int8'; it must be one of: fp32, bf16, fp16."),
        ({"device": "tpu"}, "device is 'tpu'; it must be one of: auto, cpu, cuda."),
        ({"threads": 0}, "threads is 0; it must be None, or 1 or more."),
        ({"cache_mb": -1}, "cache_mb is -1; it must be 0 or more."),
    ],
)
def test_load_refuses_unknown_choices(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(**options)
    assert str(error.value) == words


def test_load_reads_the_weights_folder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_THREADS", "many")
    assert load(engine="torch", device="cpu", threads=1).threshold > 0


# --- networks that read the mask to correct ------------------------------------------------


@pytest.fixture
def reader() -> RecordingEngine:
    return RecordingEngine(has_click_branch=True, click_maps=3)


@pytest.fixture
def correcting(reader: RecordingEngine) -> Predictor[int]:
    made = _predictor(reader, Cache(CACHE_BYTES))
    made.set_image(IMAGE)
    return made


def test_a_first_click_has_no_mask_and_corrections_have_the_first_clicks(
    correcting: Predictor[int], reader: RecordingEngine
) -> None:
    correcting.predict(BOX, [CLICK])
    assert not reader.clicks[-1][2].any()
    for clicks in ([CLICK, (45, 85)], [CLICK, (45, 85), (70, 40)], [CLICK, (70, 40), (45, 85)]):
        correcting.predict(BOX, clicks, [1] + [0] * (len(clicks) - 1))
    assert len(reader.inputs) == 1
    for maps in reader.clicks[1:]:
        np.testing.assert_array_equal(maps[2], reader.probability * 255)
    assert len(reader.clicks) == 4  # the first click's mask is kept
    np.testing.assert_array_equal(reader.clicks[-1], reader.clicks[-2])  # in any order


def test_the_first_clicks_mask_is_the_same_without_a_cache(reader: RecordingEngine) -> None:
    predictor = _predictor(reader)
    predictor.set_image(IMAGE)
    predictor.predict(BOX, [CLICK, (45, 85)], [1, 0])
    assert [bool(maps[2].any()) for maps in reader.clicks] == [False, True]
    np.testing.assert_array_equal(reader.clicks[0][:2], reader.inputs[0][3:])


def test_a_foreign_mask_is_read_with_its_box_and_its_inside_point(
    correcting: Predictor[int], reader: RecordingEngine
) -> None:
    foreign = np.zeros((120, 160), np.bool_)
    foreign[40:80, 50:90] = True
    mask = correcting.predict(mask_input=foreign, point_coords=[(95, 60), (60, 70)],
                              point_labels=[1, 0])  # fmt: skip
    assert mask.prompt is not None
    assert mask.prompt.box == (50.0, 40.0, 95.0, 80.0)  # widened to the click on the object
    assert mask.prompt.neg_points == ((60.0, 70.0),)
    assert len(mask.prompt.pos_points) == 2
    assert len(reader.clicks) == 1
    crop = Crop.around(mask.prompt.box, RULE)
    wanted = crop.extract(foreign.astype(np.uint8)) * 255
    np.testing.assert_array_equal(reader.clicks[0][2], wanted)
    column, row = _peak(reader.inputs[0][3])
    assert wanted[row, column] == 255
    further = correcting.predict(mask_input=mask, point_coords=[(52, 42)], point_labels=[0])
    assert further.prompt is not None
    assert further.prompt.neg_points == ((60.0, 70.0), (52.0, 42.0))
    assert further.prompt.box == mask.prompt.box
    np.testing.assert_array_equal(reader.clicks[-1][2], wanted)  # it still starts from it
    assert len(reader.inputs) == 1
    cleaned = further.cleaned(largest=1)
    correcting.predict(mask_input=cleaned, point_coords=[(54, 44)], point_labels=[0])
    np.testing.assert_array_equal(reader.clicks[-1][2], wanted)


def test_a_box_of_your_own_is_taken_for_a_foreign_mask(
    correcting: Predictor[int], reader: RecordingEngine
) -> None:
    foreign = np.zeros((120, 160), np.bool_)
    foreign[40:80, 50:90] = True
    mask = correcting.predict(BOX, mask_input=foreign, point_coords=[(110, 60)])
    assert mask.prompt is not None
    assert mask.prompt.box == BOX
    assert reader.clicks[0][2].any()
    smaller = correcting.predict((52, 42, 66, 56), mask_input=mask)  # holds none of the clicks
    assert smaller.start is mask.start
    assert reader.clicks[-1][2].any()


@pytest.fixture(scope="module")
def lite() -> Predictor[Any]:
    return load(engine="torch", device="cpu", threads=1)


EXAMPLES = {
    "astronaut.jpg": ((5, 4, 370, 512), (190, 320)),
    "cat.jpg": ((40, 30, 300, 280), (170, 160)),
    "coffee.jpg": ((168, 16, 424, 330), (300, 200)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_mask_from_elsewhere_stays_until_a_click_and_changes_little_then(
    lite: Predictor[Any], name: str
) -> None:
    box, click = EXAMPLES[name]
    lite.set_image(ROOT / "examples" / name)
    mask = lite.predict(box, [click])
    assert mask.area > 1000
    for foreign in (mask.array, mask.rle(), Mask.from_array(mask.array)):
        np.testing.assert_array_equal(lite.predict(mask_input=foreign).array, mask.array)
        clicked = lite.predict(mask_input=foreign, point_coords=[click])
        both, either = clicked.array & mask.array, clicked.array | mask.array
        assert both.sum() / either.sum() > 0.9
    assert clicked.prompt is not None
    further = lite.predict(mask_input=clicked, point_coords=[click])
    assert further.prompt is not None
    assert further.prompt.pos_points == (*clicked.prompt.pos_points, tuple(map(float, click)))


def test_sources_of_one_image_give_one_mask(lite: Predictor[Any]) -> None:
    path = ROOT / "examples" / "coffee.jpg"
    pixels = read_pixels(path.read_bytes(), max_pixels=10**7)
    box, click = EXAMPLES["coffee.jpg"]
    runs = []
    for source in (path, str(path), path.read_bytes(), pixels, PIL.Image.fromarray(pixels)):
        lite.set_image(source)
        runs.append(lite.predict(box, [click]).cvat_runs())
    lite.set_image(Image(path))
    runs.append(lite.predict(box, [click]).cvat_runs())
    assert runs == runs[:1] * len(runs)


def test_importing_iog_imports_no_heavy_library() -> None:
    code = (
        "import iog, sys; print({'torch', 'openvino', 'cv2', 'numpy', 'PIL'} & set(sys.modules));"
        "print(iog.Mask.__name__, iog.load.__name__, iog.__version__, dir(iog)[:1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "set()"
    assert all(hasattr(iog, name) for name in iog.__all__)
    assert issubclass(iog.NotAnImage, iog.RequestError)
    with pytest.raises(AttributeError, match="nothing"):
        iog.nothing  # noqa: B018
