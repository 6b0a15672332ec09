from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iog.evaluation.protocols import AnnotatorProtocol
from iog.evaluation.segmenters import BASELINES
from iog.prompts import Prompt
from tests.evaluation.samples import disc_sample


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return disc_sample(side=80).image


def test_the_box_is_filled_and_clamped_to_the_image(image: NDArray[np.uint8]) -> None:
    found = BASELINES["box"].predict(image, Prompt((-5.0, 10.0, 20.5, 90.0)))
    assert found.sum() == 21 * 70
    assert found[10:, :21].all()
    assert BASELINES["box"].predict(image, Prompt((90.0, 90.0, 99.0, 99.0))).sum() == 0


def test_the_ellipse_touches_the_sides_of_the_box(image: NDArray[np.uint8]) -> None:
    found = BASELINES["ellipse"].predict(image, Prompt((10.0, 20.0, 70.0, 60.0)))
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (20, 59, 10, 69)
    assert found.sum() == pytest.approx(np.pi * 30 * 20, rel=0.01)


def test_grabcut_finds_what_differs_from_the_background() -> None:
    sample = disc_sample(side=80)
    prompt = Prompt(sample.tight_box(), ((40.5, 40.5),))
    found = BASELINES["grabcut"].predict(sample.image, prompt) > 0.5
    assert np.count_nonzero(found != sample.mask) < 0.05 * np.count_nonzero(sample.mask)


def test_grabcut_obeys_clicks() -> None:
    sample = disc_sample(side=80)
    beside, on = (36.5, 40.5), (14.5, 14.5)
    first = BASELINES["grabcut"].predict(
        sample.image, Prompt((10.0, 10.0, 70.0, 70.0), ((40.5, 30.5),))
    )
    found = BASELINES["grabcut"].predict(
        sample.image, Prompt((10.0, 10.0, 70.0, 70.0), ((40.5, 30.5), on), (beside,))
    )
    assert (first[40, 36], first[14, 14]) == (1, 0)
    assert (found[40, 36], found[14, 14]) == (0, 1)


@pytest.mark.parametrize("box", [(0.0, 0.0, 80.0, 80.0), (3.0, 3.0, 4.0, 4.0), (0, 0, 79, 80)])
def test_grabcut_answers_boxes_of_every_size(
    image: NDArray[np.uint8], box: tuple[float, float, float, float]
) -> None:
    found = BASELINES["grabcut"].predict(image, Prompt(box))
    assert found.any()
    assert set(np.unique(found)) <= {0.0, 1.0}


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_takes_the_annotators_clicks(name: str) -> None:
    score = AnnotatorProtocol(threshold=0.5, clicks=2).score(BASELINES[name], disc_sample(side=60))
    assert len(score.ious) == 2
    assert 0.6 < score.ious[0] <= 1
