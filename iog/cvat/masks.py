"""Masks into a job of CVAT, beside its rectangles or in their place.

The server alone says what is stored. A mask that it has, equal in frame, label and pixels, is not
sent again, so a run may be killed, or lose its connection, between sending and hearing of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from iog.bulk.records import BoxedImage, BoxedObject, MaskRow, Outcomes
from iog.cvat.rectangles import Job, Rectangle, rectangles
from iog.cvat.server import Frame, Lost, Server
from iog.errors import DatasetError

__all__ = ["JobMasks", "Stored"]

_CHUNK: Final = 100
"""Shapes in a request."""
_ATTEMPTS: Final = 6

_Key = tuple[int, int, bytes]


@dataclass
class Stored:
    """What was done to a job."""

    created: int = 0
    known: int = 0
    """Masks that the job had already."""
    deleted: int = 0
    """Rectangles and keyframes."""
    changed: int = 0
    """Rectangles that somebody has moved or removed in the meantime; they get no mask."""

    def sentence(self) -> str:
        """What was done, for people."""
        text = f"{self.created:,} masks stored"
        if self.known:
            text += f", {self.known:,} were there already"
        if self.deleted:
            text += f"; {self.deleted:,} rectangles deleted"
        if self.changed:
            text += f"; {self.changed:,} rectangles were changed meanwhile: run it again for them"
        return f"{text}."

    def __add__(self, other: Stored) -> Stored:
        """Both together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Stored(*(mine + theirs for mine, theirs in pairs))


class JobMasks:
    """The ``Source`` and ``Sink`` of a job.

    Args:
        server: where it is.
        job: what ``read_job`` gave.
        replace: delete the rectangles whose masks are stored, and the tracks of which all visible
            keyframes have one.

    Attributes:
        stored: what ``write`` has done.
    """

    def __init__(self, server: Server, job: Job, *, replace: bool) -> None:
        self._server = server
        self._job = job
        self._replace = replace
        self.stored = Stored()

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {"server": self._server.url}

    def count(self) -> int:
        """Rectangles that want a mask."""
        return len(self._job.rectangles)

    def images(self) -> Iterator[BoxedImage]:
        """Frames with their rectangles, in order."""
        for frame, found in self._job.frames():
            objects = tuple(
                BoxedObject(each.number, each.box, each.name, each.label) for each in found
            )
            name = f"job {self._job.number}, frame {frame}"
            if file_name := self._job.names.get(frame):
                name += f" ({file_name})"
            file = Frame(self._server, self._job.number, frame)
            yield BoxedImage(frame, name, file, objects)

    def write(self, outcomes: Outcomes) -> None:
        """Store the masks, read them back, and only then delete what they replace.

        Raises:
            DatasetError: the server refuses, or does not store what it took. Then nothing of this
                job has been deleted, and the same again goes on.
        """
        rows = {
            each.number: row
            for each in self._job.rectangles
            if isinstance(row := outcomes.get(each.number), MaskRow)
        }
        wanted = self._wanted(rows, self._server.annotations(self._job.number))
        self._create(list(wanted.values()))
        annotations = self._server.annotations(self._job.number)
        if missing := len(_missing(list(wanted.values()), annotations)):
            raise DatasetError(
                f"{self._server.url} took {missing} masks of job {self._job.number} and has not "
                "stored them; no rectangle was deleted."
            )
        if self._replace:
            self._delete(frozenset(wanted), annotations)

    def _wanted(
        self, rows: dict[int, MaskRow], annotations: dict[str, Any]
    ) -> dict[int, dict[str, Any]]:
        """The shapes of rectangles that are where they were, with the fields that they have now."""
        now = {each.number: each for each in rectangles(annotations, {})}
        found = {}
        for before in self._job.rectangles:
            row, rectangle = rows.get(before.number), now.get(before.number)
            if row is None:
                continue
            if rectangle is None or (rectangle.frame, rectangle.box) != (before.frame, before.box):
                self.stored.changed += 1
            else:
                found[before.number] = _shape(rectangle, row)
        return found

    def _create(self, wanted: list[dict[str, Any]]) -> None:
        """Store what the job does not have, in parts."""
        missing = _missing(wanted, self._server.annotations(self._job.number))
        self.stored.known += len(wanted) - len(missing)
        for part in _parts(missing):
            self._insist(
                lambda shapes: self._server.create(self._job.number, shapes),
                part,
                left=lambda annotations, part: _missing_of(wanted, annotations, part),
            )
            self.stored.created += len(part)

    def _delete(self, numbers: frozenset[int], annotations: dict[str, Any]) -> None:
        """Delete rectangles whose masks are stored.

        Args:
            numbers: of these rectangles.
            annotations: the job's, as read back.
        """
        still = {each.number: each for each in rectangles(annotations, {})}
        before = {each.number: each for each in self._job.rectangles}
        numbers = frozenset(
            number
            for number in numbers
            if number in still and still[number].box == before[number].box
        )
        shapes = [each for each in annotations["shapes"] if 2 * each["id"] in numbers]
        tracks = [each for each in annotations["tracks"] if _is_replaced(each, numbers)]
        for part in _parts(shapes):
            self._insist(
                lambda shapes: self._server.delete(self._job.number, shapes, []),
                part,
                left=lambda annotations, part: _still(annotations["shapes"], part),
            )
            self.stored.deleted += len(part)
        for part in _parts(tracks):
            self._insist(
                lambda tracks: self._server.delete(self._job.number, [], tracks),
                part,
                left=lambda annotations, part: _still(annotations["tracks"], part),
            )
            self.stored.deleted += sum(len(_visible(each)) for each in part)

    def _insist(
        self,
        change: Callable[[list[dict[str, Any]]], None],
        part: list[dict[str, Any]],
        *,
        left: Callable[[dict[str, Any], list[dict[str, Any]]], list[dict[str, Any]]],
    ) -> None:
        """Make a change; when it is lost, look what is left to do, and do that.

        Raises:
            DatasetError: it is lost again and again, or refused.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return change(part)
            except Lost as error:
                if attempt == _ATTEMPTS:
                    raise DatasetError(str(error)) from error
            self._server.wait_before(attempt)
            part = left(self._server.annotations(self._job.number), part)
            if not part:
                return None
        raise AssertionError


def _shape(rectangle: Rectangle, row: MaskRow) -> dict[str, Any]:
    """The shape of a mask, as CVAT takes it."""
    return {
        **rectangle.shape,
        "type": "mask",
        "source": "semi-auto",
        "points": row.mask().cvat_runs(),
        "rotation": 0,
        "score": round(row.score, 4),
    }


def _key(shape: dict[str, Any]) -> _Key:
    points = np.asarray(shape["points"], np.float64).astype(np.int64)
    return shape["frame"], shape["label_id"], hashlib.sha256(points.tobytes()).digest()


def _missing(wanted: list[dict[str, Any]], annotations: dict[str, Any]) -> list[dict[str, Any]]:
    """The shapes that the job does not have; two equal ones need two there."""
    has = Counter(_key(each) for each in annotations["shapes"] if each["type"] == "mask")
    found = []
    for shape in wanted:
        key = _key(shape)
        if has[key] > 0:
            has[key] -= 1
        else:
            found.append(shape)
    return found


def _missing_of(
    wanted: list[dict[str, Any]], annotations: dict[str, Any], part: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    mine = {id(shape) for shape in part}
    return [shape for shape in _missing(wanted, annotations) if id(shape) in mine]


def _still(there: list[dict[str, Any]], part: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {each["id"] for each in there}
    return [each for each in part if each["id"] in ids]


def _visible(track: dict[str, Any]) -> list[dict[str, Any]]:
    return [shape for shape in track["shapes"] if not shape["outside"]]


def _is_replaced(track: dict[str, Any], numbers: frozenset[int]) -> bool:
    visible = _visible(track)
    return bool(visible) and all(2 * shape["id"] + 1 in numbers for shape in visible)


def _parts(shapes: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rest = iter(shapes)
    while part := list(islice(rest, _CHUNK)):
        yield part
