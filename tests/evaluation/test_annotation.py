from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iog.evaluation.protocols import JITTERS, AnnotatorProtocol
from iog.evaluation.scores import iou
from iog.evaluation.segmenters import BASELINES
from iog.prompts import Prompt
from tests.evaluation.samples import Computed, Scripted, disc_sample

SAMPLE = disc_sample(side=90)


def _share(share: float) -> NDArray[np.bool_]:
    """The first pixels of the disc in row order: so much of it."""
    places = np.flatnonzero(SAMPLE.mask)
    mask = np.zeros(SAMPLE.mask.shape, np.bool_)
    mask.flat[places[: round(share * len(places))]] = True
    return mask


def test_the_iou_after_each_click_is_reported() -> None:
    model = Scripted([_share(0.5), _share(0.8), SAMPLE.mask])
    score = AnnotatorProtocol(threshold=0.5, clicks=4).score(model, SAMPLE)
    assert score.ious == pytest.approx((0.5, 0.8, 1.0, 1.0), abs=0.01)
    assert len(model.prompts) == 3, "a perfect mask needs no click"
    assert [len(p.pos_points) for p in model.prompts] == [1, 2, 3]
    assert all(p.box == SAMPLE.tight_box() for p in model.prompts)
    assert score.area == SAMPLE.mask.sum()
    assert score.first_ms is not None
    assert score.first_ms > 0
    assert len(score.next_ms) == 2


def test_clicks_are_counted_up_to_each_target() -> None:
    model = Scripted(_share(share) for share in (0.5, 0.6, 0.86, 0.7, 0.95))
    score = AnnotatorProtocol(threshold=0.5, clicks=2, count_clicks=True).score(model, SAMPLE)
    assert (score.figures["noc_85"], score.figures["noc_90"]) == (3, 5)
    assert len(model.prompts) == 5, "clicking ends with the last target"
    assert len(score.ious) == 2
    assert len(score.next_ms) == 1


def test_an_object_that_never_gets_there_counts_as_twenty_clicks() -> None:
    model = Scripted([_share(0.5)])
    score = AnnotatorProtocol(threshold=0.5, clicks=1, count_clicks=True).score(model, SAMPLE)
    assert (score.figures["noc_85"], score.figures["noc_90"]) == (20, 20)
    assert len(model.prompts) == 20


def test_the_box_alone_and_careless_boxes_are_scored() -> None:
    prompts: list[Prompt] = []

    def answer(prompt: Prompt) -> NDArray[np.bool_]:
        prompts.append(prompt)
        return SAMPLE.mask if prompt.pos_points else _share(0.4)

    protocol = AnnotatorProtocol(threshold=0.5, clicks=1, vary_box=True)
    figures = protocol.score(Computed(answer), SAMPLE).figures
    assert figures["box_only"] == pytest.approx(0.4, abs=0.01)
    assert [figures[f"jitter_{percent}"] for percent in JITTERS] == [1, 1, 1]
    first, alone, *moved, careless = prompts
    assert (alone.box, alone.pos_points) == (first.box, ())
    side = first.box[2] - first.box[0]
    for prompt, percent in zip(moved, JITTERS, strict=True):
        assert prompt.pos_points == first.pos_points
        errors = np.abs(np.subtract(prompt.box, first.box)) / side
        assert 0 < errors.max() < 0.04 * percent
    assert figures["box_only_5"] == figures["box_only"]
    assert careless == Prompt(moved[JITTERS.index(5)].box)


def test_jitter_moves_the_box_the_same_way_every_time() -> None:
    protocol = AnnotatorProtocol(threshold=0.5, clicks=1, jitter_px=3)
    box = protocol.prompt(SAMPLE).box
    assert box == protocol.prompt(SAMPLE).box != SAMPLE.tight_box()
    assert box != AnnotatorProtocol(threshold=0.5, jitter_px=3, seed=1).prompt(SAMPLE).box
    rows = np.arange(90) + 0.5
    inside = (rows > box[1] - 0.5) & (rows < box[3] + 0.5)
    drawn = BASELINES["box"].predict(SAMPLE.image, Prompt(box)) > 0.5
    assert not drawn[~inside].any()
    expected = iou(drawn, SAMPLE.mask, SAMPLE.void)
    assert protocol.score(BASELINES["box"], SAMPLE).ious == (expected,)


def test_a_box_that_errors_turn_over_or_push_out_stays_usable() -> None:
    protocol = AnnotatorProtocol(threshold=0.5, jitter_px=60)
    for number in range(50):
        x1, y1, x2, y2 = protocol.prompt(disc_sample(side=90, number=number)).box
        assert 0 <= x1 < x2 <= 90
        assert 0 <= y1 < y2 <= 90


def test_columns_are_clicks() -> None:
    assert AnnotatorProtocol(threshold=0.5, clicks=3).columns == ("1 click", "2 clicks", "3 clicks")


class Correcting(Computed):
    """A model that finds what is missing, and does not see what is too much."""

    def correct(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        point: tuple[float, float],
        positive: bool,
        *,
        image_key: object = None,
    ) -> NDArray[np.bool_]:
        if not positive:
            return mask  # no better
        return SAMPLE.mask


def test_damaged_masks_are_corrected_with_a_click() -> None:
    protocol = AnnotatorProtocol(threshold=0.5, clicks=1, mask_input=True)
    figures = protocol.score(Correcting(lambda prompt: SAMPLE.mask), SAMPLE).figures
    # A tenth of the diameter is lost or gained all around.
    assert figures["eroded_before"] == pytest.approx(0.8**2, abs=0.03)
    assert figures["dilated_before"] == pytest.approx(1 / 1.2**2, abs=0.03)
    assert 0.7 < figures["shifted_before"] < 0.9
    assert (figures["eroded_after"], figures["eroded_rises"]) == (1, 1)
    assert figures["dilated_after"] == figures["dilated_before"]
    assert figures["dilated_rises"] == 0
    shifted = figures["shifted_rises"]
    assert figures["rises"] == pytest.approx((1 + 0 + shifted) / 3)
    plain = AnnotatorProtocol(threshold=0.5, clicks=1)
    assert "rises" not in plain.score(Correcting(lambda prompt: SAMPLE.mask), SAMPLE).figures
    baseline = protocol.score(Computed(lambda prompt: SAMPLE.mask), SAMPLE)
    assert "rises" not in baseline.figures
