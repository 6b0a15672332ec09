"""Scoring a model over a data set: what an annotator gets after each click."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataloaders.instance_masks import InstanceMasks
from evaluation.clicks import click_curve
from predictor import Predictor

GOOD = 0.85
"""IoU from which an annotator usually accepts a mask."""


@dataclass(frozen=True)
class ObjectScore:
    """One object's IoU after the first click and after each correction."""

    image_id: str
    object_index: int
    category: str
    subset: str
    ious: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Means over objects, as in the official protocol (IOG, section 4)."""

    objects: int
    ious: tuple[float, ...]
    """Mean IoU after the first click and after each correction."""
    good: float
    """Share of objects above ``GOOD`` after the first click."""

    @classmethod
    def of(cls, scores: Sequence[ObjectScore]) -> Summary:
        """Summarise at least one score."""
        table = np.array([score.ious for score in scores])
        return cls(
            objects=len(scores),
            ious=tuple(float(v) for v in table.mean(axis=0)),
            good=float((table[:, 0] > GOOD).mean()),
        )


def score_objects(
    predictor: Predictor[Any], objects: InstanceMasks, *, corrections: int, threshold: float
) -> Iterator[ObjectScore]:
    """Score every object with its tight box, one click inside and ``corrections`` more clicks.

    Args:
        predictor: the model.
        objects: the data.
        corrections: clicks after the first, each on the largest error.
        threshold: probability above which a pixel is object.
    """
    for index in range(len(objects)):
        sample = objects[index]
        curve = click_curve(predictor, sample, corrections=corrections, threshold=threshold)
        yield ObjectScore(
            sample.image_id, sample.object_index, sample.category, sample.subset, tuple(curve)
        )


def by_subset(scores: Sequence[ObjectScore]) -> dict[str, Summary]:
    """Summaries of each part of the data set, by name, then of all of it under ``all``."""
    groups: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in scores:
        groups[score.subset].append(score)
    named = {name: Summary.of(group) for name, group in sorted(groups.items())}
    return {**named, "all": Summary.of(scores)}
