"""Scores of one mask against the truth, of one object, and their means over objects."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dataloaders.samples import Sample

__all__ = [
    "BOUNDARY_TOLERANCE",
    "GOOD",
    "SIZES",
    "Latency",
    "ObjectScore",
    "Summary",
    "boundary_f",
    "by_subset",
    "differences",
    "groups_of",
    "iou",
    "over_subsets",
    "standard_error",
]

BOUNDARY_TOLERANCE = 0.008
"""How far apart two boundaries may lie and still match, as a fraction of the image's diagonal."""
Mask = NDArray[np.bool_]
GOOD = 0.85
"""IoU from which an annotator usually accepts a mask."""
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, math.inf)}
"""COCO's sizes by name: pixels of the object, in the images as they are given."""


def iou(mask: Mask, truth: Mask, void: Mask) -> float:
    """Intersection over union of two bool [H, W] masks, void pixels left out; empty on empty is 1.

    This is the official protocol's Jaccard index (IOG, section 4).
    """
    counted = ~void
    union = np.count_nonzero((mask | truth) & counted)
    return 1.0 if union == 0 else np.count_nonzero(mask & truth & counted) / union


def boundary_f(
    mask: Mask, truth: Mask, void: Mask, *, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """Harmonic mean of boundary precision and recall (Perazzi et al., CVPR 2016, section 4).

    Precision is the fraction of the mask's boundary pixels that have one of the truth's within the
    tolerance, recall the fraction of the truth's that have one of the mask's. The image's edge is
    no boundary; boundary pixels in void are not counted, but may match.

    Args:
        mask, truth, void: bool [H, W].
        tolerance: fraction of the image's diagonal; rounded up to whole pixels.
    """
    height, width = truth.shape
    reach = math.ceil(tolerance * math.hypot(height, width))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    found, wanted = _boundary(mask), _boundary(truth)
    if not (found.any() and wanted.any()):
        return float(found.any() == wanted.any())
    precision = _matched(found & ~void, cv2.dilate(wanted.astype(np.uint8), disc))
    recall = _matched(wanted & ~void, cv2.dilate(found.astype(np.uint8), disc))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Mask) -> Mask:
    """The mask's pixels with a neighbour beside, above or below outside it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    eroded = np.asarray(cv2.erode(mask.astype(np.uint8), cross), np.bool_)
    return mask & ~eroded


def _matched(boundary: Mask, near: NDArray[np.generic]) -> float:
    count = np.count_nonzero(boundary)
    return float(np.count_nonzero(boundary & (near != 0)) / count) if count else 1.0


@dataclass(frozen=True)
class ObjectScore:
    """What one object got."""

    image_id: str
    object_index: int
    category: str
    subset: str
    ious: tuple[float, ...]
    """One per column of the protocol: after each click, or at each threshold."""
    area: int = 0
    """Pixels of the object."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Further scores by name; see the protocol."""
    first_ms: float | None = None
    """Time of the first click."""
    next_ms: tuple[float, ...] = ()
    """Time of each further click."""

    @classmethod
    def of(cls, sample: Sample, ious: Sequence[float], **more: Any) -> ObjectScore:  # noqa: ANN401
        """The score of a sample; ``more`` are further fields."""
        area = int(np.count_nonzero(sample.mask))
        who = sample.image_id, sample.object_index, sample.category, sample.subset
        return cls(*who, tuple(ious), area, **more)

    @property
    def photograph(self) -> tuple[str, str]:
        """What the object is on. Objects of one photograph are easy or hard together."""
        return self.subset, self.image_id

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ObjectScore:
        """The inverse of ``dataclasses.asdict`` after a way through JSON."""
        return cls(**{**row, "ious": tuple(row["ious"]), "next_ms": tuple(row["next_ms"])})


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the prompt to the mask."""

    median: float
    p95: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Latency | None:
        """Of any number of times; ``None`` of none."""
        if not times:
            return None
        return cls(*(float(v) for v in np.percentile(times, (50, 95))))


@dataclass(frozen=True)
class Summary:
    """Means over objects, as in the official protocol (IOG, section 4)."""

    objects: int
    ious: tuple[float, ...]
    """Mean IoU in each column of the protocol."""
    good: float
    """Fraction of objects above ``GOOD`` in the first column: after the first click."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Mean of each further score, over the objects that have it."""
    errors: tuple[float, ...] = ()
    """Standard error of each mean of ``ious``; NaN where there is one photograph."""
    good_error: float = math.nan
    figure_errors: Mapping[str, float] = field(default_factory=dict)
    first_click: Latency | None = None
    next_click: Latency | None = None

    @classmethod
    def of(cls, scores: Sequence[ObjectScore]) -> Summary:
        """Summarise at least one score."""
        table = np.array([score.ious for score in scores])
        good = table[:, 0] > GOOD
        photographs = [score.photograph for score in scores]
        figures: dict[str, list[float]] = defaultdict(list)
        whose: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for score in scores:
            for name, value in score.figures.items():
                figures[name].append(value)
                whose[name].append(score.photograph)
        return cls(
            objects=len(scores),
            ious=tuple(float(v) for v in table.mean(axis=0)),
            good=float(good.mean()),
            figures={name: float(np.mean(values)) for name, values in figures.items()},
            errors=tuple(standard_error(column, photographs) for column in table.T),
            good_error=standard_error(good, photographs),
            figure_errors={n: standard_error(v, whose[n]) for n, v in figures.items()},
            first_click=Latency.of([s.first_ms for s in scores if s.first_ms is not None]),
            next_click=Latency.of([ms for s in scores for ms in s.next_ms]),
        )


def by_subset(scores: Sequence[ObjectScore]) -> dict[str, Summary]:
    """Summaries of each part of the data set, by name, then of all of it under ``all``."""
    return {name: Summary.of(group) for name, group in groups_of(scores).items()}


def groups_of(scores: Sequence[ObjectScore]) -> dict[str, list[ObjectScore]]:
    """The scores of each part of the data set, by name, then all of them under ``all``."""
    groups: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in scores:
        groups[score.subset].append(score)
    return {**dict(sorted(groups.items())), "all": list(scores)}


def standard_error(values: ArrayLike, photographs: Sequence[Hashable]) -> float:
    """Standard error of a mean over objects, where those of one photograph are not independent.

    The deviations of one photograph's objects from the mean are added up first, as for a mean of
    clusters of any size (Cochran, Sampling Techniques, chapter 9). With one object on each
    photograph this is the usual standard error.

    Args:
        values: one number for each object.
        photographs: what each object is on.

    Returns:
        NaN where there is one photograph.
    """
    array = np.asarray(values, np.float64)
    sums: dict[Hashable, float] = defaultdict(float)
    for deviation, photograph in zip(array - array.mean(), photographs, strict=True):
        sums[photograph] += float(deviation)
    count = len(sums)
    if count < 2:
        return math.nan
    square = sum(value**2 for value in sums.values()) * count / (count - 1)
    return math.sqrt(square) / len(array)


def over_subsets(summaries: Sequence[Summary]) -> Summary:
    """The mean of the parts' means: every part counts the same, however many objects it has."""
    share = 1 / len(summaries)

    def error(values: Iterable[float]) -> float:
        return share * math.sqrt(sum(value**2 for value in values))

    columns = range(len(summaries[0].ious))
    return Summary(
        objects=sum(summary.objects for summary in summaries),
        ious=tuple(share * sum(s.ious[i] for s in summaries) for i in columns),
        good=share * sum(s.good for s in summaries),
        errors=tuple(error(s.errors[i] for s in summaries) for i in columns),
        good_error=error(s.good_error for s in summaries),
    )


def differences(
    scores: Sequence[ObjectScore], reference: Sequence[ObjectScore]
) -> list[ObjectScore]:
    """How much better each object's scores are than the reference's, as if they were its scores.

    ``Summary.of`` gives the mean differences and their standard errors; its ``good`` means nothing.
    The figure ``good`` is the difference of being over ``GOOD`` after the first click.

    Raises:
        ValueError: the scores are not of the same objects in the same order.
    """
    found = []
    for mine, theirs in zip(scores, reference, strict=True):
        if (mine.photograph, mine.object_index) != (theirs.photograph, theirs.object_index):
            raise ValueError("the scores to compare are of different objects")
        figures = {
            name: value - theirs.figures[name]
            for name, value in mine.figures.items()
            if name in theirs.figures
        }
        figures["good"] = float(mine.ious[0] > GOOD) - float(theirs.ious[0] > GOOD)
        ious = tuple(a - b for a, b in zip(mine.ious, theirs.ious, strict=True))
        found.append(replace(mine, ious=ious, figures=figures, first_ms=None, next_ms=()))
    return found
