"""Scoring a data set, object by object."""

from __future__ import annotations

from collections.abc import Iterator

from dataloaders.samples import Dataset
from iog.evaluation.loading import read_ahead
from iog.evaluation.protocol import ObjectScore, Scorer
from iog.evaluation.segmenters import Segmenter
from iog.evaluation.store import ScoreFile

__all__ = ["chosen", "score_objects"]


def score_objects(
    segmenter: Segmenter,
    objects: Dataset,
    scorer: Scorer,
    *,
    limit: int | None = None,
    store: ScoreFile | None = None,
) -> Iterator[ObjectScore]:
    """Score every object, in order.

    Args:
        segmenter: the model.
        objects: the data.
        scorer: the protocol.
        limit: so many objects only, spread evenly over the data set.
        store: gives the scores that are there already, at once and first, and keeps the new ones.
    """
    known = {} if store is None else dict(store.scores)
    yield from known.values()
    wanted = (number for number in chosen(len(objects), limit) if number not in known)
    for number, sample in read_ahead(objects, wanted):
        score = scorer.score(segmenter, sample)
        if store is not None:
            store.add(number, score)
        yield score


def chosen(count: int, limit: int | None) -> list[int]:
    """The numbers of all objects, or of ``limit`` of them, evenly spread."""
    if limit is None or limit >= count:
        return list(range(count))
    return [number * count // limit for number in range(limit)]
