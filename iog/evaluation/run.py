"""Scores a data set object by object, and keeps the scores on disk."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataloaders.samples import Dataset, Sample
from iog.errors import SettingsError
from iog.evaluation.protocols import Scorer
from iog.evaluation.scores import ObjectScore
from iog.evaluation.segmenters import Segmenter

__all__ = ["FILE", "ScoreFile", "chosen", "read_ahead", "score_objects"]

FILE = "objects.jsonl"


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


def read_ahead(
    objects: Dataset, indices: Iterable[int], *, ahead: int = 4
) -> Iterator[tuple[int, Sample]]:
    """The objects with these numbers, in order, read by a second thread.

    One thread reads, so that a reader need not be safe for several; decoding a photograph is
    quick beside a network, and more threads would take cores from it.

    Args:
        objects: the data set.
        indices: numbers of its objects.
        ahead: how many samples wait at most.
    """
    waiting: deque[tuple[int, Future[Sample]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        try:
            for index in indices:
                waiting.append((index, pool.submit(objects.__getitem__, index)))
                if len(waiting) > ahead:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class ScoreFile:
    """``objects.jsonl``: the run's settings, then a line for each object as it is scored.

    Args:
        folder: made if it is not there.
        settings: everything the scores depend on; JSON values only.

    Raises:
        SettingsError: the folder holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        header = {"settings": json.loads(json.dumps(settings))}
        self.scores: dict[int, ObjectScore] = {}
        """By the object's number: what earlier runs scored, and then what is added."""
        lines = _whole_lines(self.path)
        if lines:
            _compare(lines[0].get("settings", {}), header["settings"], folder)
            for row in lines[1:]:
                number = int(row.pop("number"))
                self.scores[number] = ObjectScore.from_dict(row)
        else:
            self._append(header)

    def add(self, number: int, score: ObjectScore) -> None:
        """Keep object ``number``'s score; it is on disk when this returns."""
        self._append({"number": number, **asdict(score)})
        self.scores[number] = score

    def _append(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The file's lines; one that a kill cut short is cut off the file too."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    before, now = _flat(before), _flat(now)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise SettingsError(
                f"{folder} holds scores of another run, with {name} = {before.get(name)!r} and "
                f"not {now.get(name)!r}: choose another --out, or remove the folder."
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
