"""Scores of objects and their means, whatever protocol gave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dataloaders.samples import Sample
from iog.evaluation.segmenters import Segmenter
from iog.prompts import Prompt

__all__ = ["GOOD", "Latency", "ObjectScore", "Scorer", "Summary", "by_subset"]

GOOD = 0.85
"""IoU from which an annotator usually accepts a mask."""


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
    def from_dict(cls, row: Mapping[str, Any]) -> ObjectScore:
        """The inverse of ``dataclasses.asdict`` after a way through JSON."""
        return cls(**{**row, "ious": tuple(row["ious"]), "next_ms": tuple(row["next_ms"])})


class Scorer(Protocol):
    """A protocol: how one object is scored."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the IoUs belong to, in order."""

    def prompt(self, sample: Sample) -> Prompt:
        """The box and the first click for an object."""

    def score(self, segmenter: Segmenter, sample: Sample) -> ObjectScore:
        """Score one object."""


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
    """Share of objects above ``GOOD`` in the first column: after the first click."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Mean of each further score, over the objects that have it."""
    first_click: Latency | None = None
    next_click: Latency | None = None

    @classmethod
    def of(cls, scores: Sequence[ObjectScore]) -> Summary:
        """Summarise at least one score."""
        table = np.array([score.ious for score in scores])
        figures: dict[str, list[float]] = defaultdict(list)
        for score in scores:
            for name, value in score.figures.items():
                figures[name].append(value)
        return cls(
            objects=len(scores),
            ious=tuple(float(v) for v in table.mean(axis=0)),
            good=float((table[:, 0] > GOOD).mean()),
            figures={name: float(np.mean(values)) for name, values in figures.items()},
            first_click=Latency.of([s.first_ms for s in scores if s.first_ms is not None]),
            next_click=Latency.of([ms for s in scores for ms in s.next_ms]),
        )


def by_subset(scores: Sequence[ObjectScore]) -> dict[str, Summary]:
    """Summaries of each part of the data set, by name, then of all of it under ``all``."""
    groups: dict[str, list[ObjectScore]] = defaultdict(list)
    for score in scores:
        groups[score.subset].append(score)
    named = {name: Summary.of(group) for name, group in sorted(groups.items())}
    return {**named, "all": Summary.of(scores)}
