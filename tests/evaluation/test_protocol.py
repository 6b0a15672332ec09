from __future__ import annotations

import math

import numpy as np
import pytest

from iog.evaluation.scores import (
    ObjectScore,
    Summary,
    by_subset,
    differences,
    over_subsets,
    standard_error,
)


def _score(subset: str, *ious: float) -> ObjectScore:
    return ObjectScore("image", 0, "", subset, ious)


def test_means_are_over_objects() -> None:
    scores = [_score("a", 0.9, 1.0), _score("a", 0.8, 0.9), _score("b", 0.1, 0.2)]
    found = by_subset(scores)
    assert list(found) == ["a", "b", "all"]
    assert found["a"].ious == pytest.approx((0.85, 0.95))
    assert found["all"].ious == pytest.approx((0.6, 0.7))
    assert found["all"].objects == 3
    assert found["all"].good == pytest.approx(1 / 3)


def test_exactly_at_the_limit_is_not_over_it() -> None:
    assert Summary.of([_score("a", 0.85)]).good == 0


def test_the_standard_error_is_the_usual_one_with_one_object_on_each_photograph() -> None:
    values = np.array([0.2, 0.5, 0.9, 0.4])
    usual = values.std(ddof=1) / 2
    assert standard_error(values, list("abcd")) == pytest.approx(usual)
    assert math.isnan(standard_error(values, ["a"] * 4))


def test_the_standard_error_covers_photographs_drawn_anew() -> None:
    """Objects of one photograph share most of their score: more of them tell little more."""
    rng = np.random.default_rng(0)
    photographs = np.repeat(np.arange(60), 5)
    means, errors = [], []
    for _ in range(400):
        values = rng.normal(0, 1, 60)[photographs] + rng.normal(0, 0.3, 300)
        means.append(values.mean())
        errors.append(standard_error(values, photographs.tolist()))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
    naive = np.std(values, ddof=1) / math.sqrt(300)
    assert np.mean(errors) > 1.8 * naive


def test_every_set_counts_the_same_in_the_mean_of_sets() -> None:
    parts = [
        Summary(9, (0.5,), 0.2, errors=(0.03,), good_error=0.1),
        Summary(1, (0.9,), 0.4, errors=(0.04,), good_error=0.2),
    ]
    found = over_subsets(parts)
    assert found.objects == 10
    assert found.ious == pytest.approx((0.7,))
    assert found.errors == pytest.approx((0.025,))
    assert found.good == pytest.approx(0.3)


def test_differences_keep_what_both_have() -> None:
    mine = ObjectScore("a", 0, "", "", (0.9,), figures={"boundary_f": 0.7, "box_only": 0.5})
    theirs = ObjectScore("a", 0, "", "", (0.8,), figures={"boundary_f": 0.6})
    (found,) = differences([mine], [theirs])
    assert found.ious == pytest.approx((0.1,))
    assert found.figures == pytest.approx({"boundary_f": 0.1, "good": 1.0})
