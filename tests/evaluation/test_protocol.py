from __future__ import annotations

import pytest

from iog.evaluation.scores import ObjectScore, Summary, by_subset


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
