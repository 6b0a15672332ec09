"""COCO's object instances: boxes in, the same file with masks out.

The file may be larger than memory: an index of where its annotations lie is kept in a temporary
database of SQLite, which goes to disk as it grows. What is no new mask is copied byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from dataloaders.geometry import Size
from iog.bulk.files import atomic_output, copy_bytes
from iog.bulk.json_text import members, read, with_members
from iog.bulk.records import BoxedImage, BoxedObject, Click, Failure, ImageFile, MaskRow, Outcomes
from iog.errors import DatasetError

__all__ = ["CocoBoxes"]

_TABLES: Final = """
CREATE TABLE image
    (id TEXT PRIMARY KEY, number INTEGER, start INTEGER, end INTEGER, twice INTEGER) WITHOUT ROWID;
CREATE TABLE annotation (number INTEGER PRIMARY KEY, image TEXT, start INTEGER, end INTEGER);
"""
_LEAST_POLYGON: Final = 6
"""Numbers: COCO's own reader takes fewer for a box."""
_VISIBLE: Final = 2
"""Of a keypoint; 1 is labelled but hidden."""


class CocoBoxes:
    """The ``Source`` and ``Sink`` of a COCO file.

    An annotation that has a mask already is kept as it is, and so is one that has no box. So is a
    crowd: its box is not around one object.

    Args:
        path: the file.
        images: the folder that its file names start from, or what finds the file of a name.
        out: the file to write.
        form: of ``segmentation``: ``rle``, or ``polygon`` (without holes, as COCO has none).
        tolerance: of the polygons, in pixels.
        redo: make masks for annotations that have one, too.
        points_field: key of an annotation's clicks: x, y or x, y, 1 (object) or 0 each. Default:
            the visible ``keypoints``.

    Attributes:
        kept: annotations that are left as they are.

    Raises:
        DatasetError: the file is not COCO's.
        OSError: it cannot be read.
    """

    def __init__(
        self,
        path: Path,
        images: Path | Callable[[str], ImageFile],
        out: Path,
        *,
        form: Literal["rle", "polygon"] = "rle",
        tolerance: float = 1.0,
        redo: bool = False,
        points_field: str | None = None,
    ) -> None:
        self._path = path
        self._images = images
        self._out = out
        self._form: Literal["rle", "polygon"] = form
        self._tolerance = tolerance
        self._redo = redo
        self._points_field = points_field
        self._labels: dict[str, str] = {}
        self._db = sqlite3.connect("", isolation_level=None)  # "": a file without a name
        self._db.executescript(_TABLES)
        self.kept = 0
        digest = hashlib.sha256()
        self._db.execute("BEGIN")
        keys = self._index(digest)
        self._db.execute("COMMIT")
        self._db.execute("CREATE INDEX by_image ON annotation (image, number)")
        self._sha256 = digest.hexdigest()
        if missing := {"images", "annotations"} - keys:
            raise DatasetError(
                f"{path} is not a COCO file of boxes: it has no {' and no '.join(sorted(missing))}."
            )

    def _index(self, digest: Any) -> set[str]:  # noqa: ANN401 - hashlib's classes have no name
        """Read the whole file once; returns the keys of its object."""
        keys: set[str] = set()
        numbers = {"images": 0, "annotations": 0}
        clicked = self._points_field is None
        for key, start, end, value, element in members(self._path, seen_by=digest):
            keys.add(key)
            if not element or key not in (*numbers, "categories"):
                continue
            if not isinstance(value, dict):
                raise DatasetError(f"{self._path}: an entry of {key} is no object.")
            if key == "categories":
                self._labels[_id(value.get("id"))] = str(value.get("name", ""))
                continue
            number = numbers[key]
            numbers[key] += 1
            if key == "images":
                self._db.execute(
                    "INSERT INTO image VALUES (?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET twice = 1",
                    (_id(value.get("id")), number, start, end),
                )
                continue
            clicked = clicked or self._points_field in value
            boxless = "bbox" not in value or value.get("iscrowd") == 1
            if boxless or (not self._redo and _has_mask(value)):
                self.kept += 1
            else:
                self._db.execute(
                    "INSERT INTO annotation VALUES (?, ?, ?, ?)",
                    (number, _id(value.get("image_id")), start, end),
                )
        if numbers["annotations"] and not clicked:
            raise DatasetError(f"{self._path}: no annotation has the key {self._points_field!r}.")
        return keys

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {
            "input sha256": self._sha256,
            "redo": str(self._redo),
            "points field": self._points_field or "keypoints",
        }

    def count(self) -> int:
        """Annotations that want a mask."""
        count: int = self._db.execute("SELECT count(*) FROM annotation").fetchone()[0]
        return count

    def images(self) -> Iterator[BoxedImage]:
        """The images in the file's order, then annotations whose image is not in the file."""
        with self._path.open("rb") as file:
            rows = self._db.execute("SELECT * FROM image ORDER BY number")
            for key, number, start, end, twice in rows:
                objects = tuple(self._objects(file, key))
                if twice:
                    problem = f"Several images have the id {key}."
                    objects = tuple(replace(each, problem=problem) for each in objects)
                if objects:
                    yield self._image(number, _at(file, start, end), objects)
            lost = self._db.execute(
                "SELECT number, image, start, end FROM annotation "
                "WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = annotation.image) ORDER BY number"
            )
            for number, key, start, end in lost:
                found = self._object(number, _at(file, start, end))
                lone = replace(found, problem=f"No image has the id {key}.")
                yield BoxedImage(-1 - number, f"image {key}", b"", (lone,))

    def _image(
        self, number: int, entry: dict[str, Any], objects: tuple[BoxedObject, ...]
    ) -> BoxedImage:
        name = entry.get("file_name")
        size: Size | None = None
        height, width = entry.get("height"), entry.get("width")
        if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
            size = height, width
        named = str(name or "")
        found = self._images
        file = str(found / named) if isinstance(found, Path) else found(named)
        return BoxedImage(number, str(name), file, objects, size)

    def _objects(self, file: BinaryIO, image: str) -> Iterator[BoxedObject]:
        rows = self._db.execute(
            "SELECT number, start, end FROM annotation WHERE image = ? ORDER BY number", (image,)
        )
        for number, start, end in rows:
            yield self._object(number, _at(file, start, end))

    def _object(self, number: int, entry: dict[str, Any]) -> BoxedObject:
        name = f"annotation {entry['id']}" if "id" in entry else f"annotation number {number}"
        label = self._labels.get(_id(entry.get("category_id")), "")
        try:
            x, y, width, height = _numbers(entry["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError):
            problem = "Its bbox is not four numbers: x, y, width, height."
            return BoxedObject(number, (0.0, 0.0, 0.0, 0.0), name, label, problem=problem)
        box = (x, y, x + width, y + height)
        try:
            points = _clicks(entry, self._points_field)
        except (TypeError, ValueError, OverflowError):
            problem = f"Its {self._points_field or 'keypoints'} are not numbers in threes."
            if self._points_field:
                problem = f"Its {self._points_field} is not a list of [x, y] or [x, y, label]."
            return BoxedObject(number, box, name, label, problem=problem)
        return BoxedObject(number, box, name, label, points)

    def write(self, outcomes: Outcomes) -> None:
        """See ``Sink.write``: the input's bytes, with the annotations that have got a mask.

        Raises:
            OSError: it cannot be written.
        """
        with self._path.open("rb") as file, atomic_output(self._out) as out:
            for number, outcome in outcomes:
                if isinstance(outcome, Failure):
                    continue
                start, end = self._db.execute(
                    "SELECT start, end FROM annotation WHERE number = ?", (number,)
                ).fetchone()
                copy_bytes(file, out, start - file.tell())
                out.write(with_members(file.read(end - start), self._changes(outcome)))
            copy_bytes(file, out, None)

    def _changes(self, row: MaskRow) -> dict[str, Any]:
        """The members of an annotation that tell of its mask."""
        x0, y0, x1, y1 = row.box
        changes = {
            "segmentation": {"size": list(row.size), "counts": row.counts},
            "area": row.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            "score": row.score,
        }
        if self._form == "polygon":
            polygons = row.mask().to_coco(
                id=0, image_id=0, category_id=0, form="polygon", tolerance=self._tolerance
            )
            changes["segmentation"] = polygons["segmentation"]
        return changes


def _at(file: BinaryIO, start: int, end: int) -> dict[str, Any]:
    file.seek(start)
    entry: dict[str, Any] = read(file.read(end - start))
    return entry


def _id(value: object) -> str:
    """An id as text; 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _has_mask(entry: dict[str, Any]) -> bool:
    mask = entry.get("segmentation")
    if isinstance(mask, dict):
        return bool(mask.get("counts"))
    return isinstance(mask, list) and any(
        isinstance(part, list) and len(part) >= _LEAST_POLYGON for part in mask
    )


def _numbers(values: object) -> list[float]:
    """A list of numbers.

    Raises:
        TypeError, ValueError, OverflowError: it is none.
    """
    if not isinstance(values, list):
        raise TypeError
    return [float(value) for value in values]


def _clicks(entry: dict[str, Any], field: str | None) -> tuple[Click, ...]:
    """The clicks of an annotation.

    Raises:
        TypeError, ValueError: they are none.
    """
    if field is None:
        flat = _numbers(entry.get("keypoints") or [])
        if len(flat) % 3:
            raise ValueError
        places = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return tuple((x, y, 1) for x, y, visible in places if visible == _VISIBLE)
    clicks = []
    for x, y, *label in entry.get(field) or ():
        if label not in ([], [0], [1]):
            raise ValueError
        clicks.append((float(x), float(y), int(label[0]) if label else 1))
    return tuple(clicks)
