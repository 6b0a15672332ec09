from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dataloaders.geometry import CropRule
from iog.errors import SettingsError, UnusableRequest, WeightsError
from iog.masks import Mask, union
from iog.models.checkpoint import Checkpoint, write_checkpoint
from iog.models.spec import own_spec
from iog.settings import Settings
from model_handler import ModelHandler
from networks import build_network
from tests.builders import saved

PIXELS = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
FILE = saved(Image.fromarray(PIXELS), "PNG")
LEFT, RIGHT = (10.0, 10.0, 40.0, 60.0), (60.0, 20.0, 110.0, 80.0)


def predict(
    handler: ModelHandler,
    source: bytes | NDArray[np.uint8] = PIXELS,
    **prompts: Any,  # noqa: ANN401
) -> Mask:
    """The union of the masks of one request."""
    return union(handler.predict(handler.open(source), **prompts))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small-framed network with random weights whose masks are neither empty nor full."""
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    crop = CropRule(input_size=64, margin_px=6, margin_ratio=0.18, corner_offset=2, fwhm=4)
    spec = own_spec(path, architecture="iog-lite", crop=crop)
    write_checkpoint(path, Checkpoint(spec, build_network("iog-lite").state_dict()))
    return path


@pytest.fixture
def settings(checkpoint: Path, tmp_path: Path) -> Settings:
    return Settings(model=str(checkpoint), weights_dir=tmp_path, device="cpu", threads=1)


@pytest.fixture
def handler(settings: Settings) -> ModelHandler:
    return ModelHandler(settings)


def test_a_mask_has_the_size_of_the_image_and_two_values(handler: ModelHandler) -> None:
    found = predict(handler, boxes=[LEFT], pos_points=[(25, 30)], neg_points=[])
    assert found.array.shape == found.size == (90, 120)
    assert found.array.dtype == np.bool_
    assert found.pixels.flags.c_contiguous
    assert set(np.unique(found.array)) == {False, True}
    assert found.box is not None
    x0, y0, x1, y1 = found.box
    assert found.array[y0:y1, x0:x1].sum() == found.array.sum()
    assert 0.5 < found.score <= 1
    assert found.area == found.array.sum()
    assert set(handler.timings) == {"open", "network", "paste"}


def test_several_boxes_give_the_union_of_their_masks(handler: ModelHandler) -> None:
    clicks = [(80.0, 50.0), (25.0, 30.0)]  # not in the order of the boxes
    both = predict(handler, boxes=[LEFT, RIGHT], pos_points=clicks, neg_points=[])
    left = predict(handler, boxes=[LEFT], pos_points=clicks[1:], neg_points=[])
    right = predict(handler, boxes=[RIGHT], pos_points=clicks[:1], neg_points=[])
    np.testing.assert_array_equal(both.array, left.array | right.array)


def test_the_threshold_is_a_probability(handler: ModelHandler) -> None:
    areas = [
        int(
            predict(
                handler, boxes=[LEFT], pos_points=[(25, 30)], neg_points=[], threshold=threshold
            ).array.sum()
        )
        for threshold in (0.001, 0.4, 0.5, 0.6, 0.999)
    ]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[2] > areas[-1]


def test_a_threshold_that_nothing_reaches_gives_an_empty_mask(handler: ModelHandler) -> None:
    found = predict(
        handler, boxes=[LEFT], pos_points=[(25, 30)], neg_points=[], threshold=0.9999999
    )
    assert not found.array.any()
    assert found.box is None
    assert found.score == 0


@pytest.mark.parametrize(
    "box", [(-20.0, -10.0, 30.0, 40.0), (100.5, 70.2, 300.0, 300.0), (-9, -9, 999, 999)]
)
def test_boxes_partly_outside_are_clamped(
    handler: ModelHandler, box: tuple[float, float, float, float]
) -> None:
    inside = (max(box[0], 0), max(box[1], 0), min(box[2], 120), min(box[3], 90))
    a, b = (
        predict(handler, boxes=[x], pos_points=[(20, 20)], neg_points=[]) for x in (box, inside)
    )
    np.testing.assert_array_equal(a.array, b.array)


@pytest.mark.parametrize("box", [(-50, 0, 0, 20), (0, 90, 20, 120), (500, 500, 600, 600)])
def test_boxes_outside_are_refused_with_the_size_of_the_image(
    handler: ModelHandler, box: tuple[float, float, float, float]
) -> None:
    with pytest.raises(UnusableRequest, match="120 x 90 pixels") as error:
        predict(handler, boxes=[LEFT, box], pos_points=[], neg_points=[])
    assert error.value.code == "box_outside_image"
    assert "Box 2" in error.value.message


def test_clicks_outside_the_image_are_moved_to_its_edge(handler: ModelHandler) -> None:
    a, b = (
        predict(handler, boxes=[LEFT], pos_points=[click], neg_points=[(0.5, 89.5)])
        for click in ((-1e6, 30.0), (0.5, 30.0))
    )
    np.testing.assert_array_equal(a.array, b.array)


def test_a_box_alone_gives_a_mask(handler: ModelHandler) -> None:
    found = predict(handler, boxes=[RIGHT], pos_points=[], neg_points=[])
    assert found.array.shape == (90, 120)


def test_cached_answers_are_the_same_answers(settings: Settings) -> None:
    cached, plain = ModelHandler(settings), ModelHandler(replace(settings, cache_mb=0))
    for clicks in ([(25.0, 30.0)], [(25.0, 30.0), (20.0, 55.0)]):
        a, b = (
            predict(h, FILE, boxes=[LEFT], pos_points=clicks, neg_points=[])
            for h in (cached, plain)
        )
        np.testing.assert_array_equal(a.array, b.array)
    first = {"image": (1, 1), "pixels": (0, 1), "window": (0, 1), "crop": (1, 1)}
    assert cached.cache_stats() == {**first, "file": (0, 0), "first": (1, 1), "interior": (0, 0)}
    twice = {"image": (0, 2), "pixels": (0, 2), "window": (0, 2), "crop": (0, 2)}
    assert plain.cache_stats() == {**twice, "file": (0, 0), "first": (0, 2), "interior": (0, 0)}


def test_the_next_click_needs_no_pixels_even_if_the_image_was_too_large_to_keep(
    settings: Settings,
) -> None:
    handler = ModelHandler(replace(settings, cache_mb=2))
    data = saved(Image.new("RGB", (900, 900), "navy"), "PNG")  # 2.4 MB of pixels
    boxes = [(100.0, 100.0, 800.0, 700.0)]
    for clicks in ([(300.0, 300.0)], [(300.0, 300.0), (500.0, 500.0)]):
        predict(handler, data, boxes=boxes, pos_points=clicks, neg_points=[])
    assert handler.cache_stats() == {
        "file": (0, 0),
        "first": (1, 1),
        "image": (1, 1),
        "pixels": (0, 1),
        "window": (0, 1),
        "crop": (1, 1),
        "interior": (0, 0),
    }
    handler.forget()
    predict(handler, data, boxes=boxes, pos_points=[], neg_points=[])
    assert handler.cache_stats()["image"] == (1, 2)


def test_an_overlap_counts_once(handler: ModelHandler) -> None:
    found = predict(handler, boxes=[LEFT, LEFT], pos_points=[], neg_points=[])
    alone = predict(handler, boxes=[LEFT], pos_points=[], neg_points=[])
    assert found.area == found.array.sum() == alone.area


def test_it_says_what_runs(handler: ModelHandler) -> None:
    handler.warm_up()
    said = handler.describe()
    assert said["model"] == "random"
    assert (said["engine"], said["precision"], said["device"]) == ("torch", "fp32", "cpu")
    assert said["threads"] == 1


def test_what_cannot_start_says_so(settings: Settings) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="IOG_DEVICE"):
            ModelHandler(replace(settings, device="cuda"))
    with pytest.raises(WeightsError, match="iog weights fetch iog-pascal-sbd"):
        ModelHandler(replace(settings, model="iog-pascal-sbd"))


@pytest.mark.parametrize("architecture", ["iog-resnet101", "iog-resnet101-refinement"])
def test_files_like_the_published_ones_run_through_the_same_code(
    architecture: str, tmp_path: Path
) -> None:
    """A plain state dict in the old format, as the authors saved it, recognised by its keys."""
    torch.manual_seed(4)
    state = build_network(architecture).state_dict()
    path = tmp_path / "published.pth"
    without_counters = {k: v for k, v in state.items() if "num_batches" not in k}
    torch.save(without_counters, path, _use_new_zipfile_serialization=False)
    handler = ModelHandler(Settings(model=str(path), weights_dir=tmp_path, device="cpu", threads=1))
    path.unlink()
    assert handler.describe()["architecture"] == architecture
    assert handler.predictor.threshold == 0.3
    for clicks in ([(25.0, 30.0)], [(25.0, 30.0), (20.0, 55.0)]):
        found = predict(handler, FILE, boxes=[LEFT], pos_points=clicks, neg_points=[])
        assert found.array.shape == (90, 120)
    has_click_branch = architecture.endswith("refinement")
    assert handler.cache_stats()["crop"] == ((1, 1) if has_click_branch else (0, 2))


def test_fractions_instead_of_pixels_are_refused(handler: ModelHandler) -> None:
    with pytest.raises(UnusableRequest, match="smaller than a pixel") as error:
        predict(handler, boxes=[(0.1, 0.1, 0.9, 0.9)], pos_points=[], neg_points=[])
    assert "fractions" in error.value.hint
