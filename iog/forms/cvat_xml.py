"""CVAT for images 1.1 and CVAT for video 1.1: boxes in, the same file with masks out.

What is no new mask is copied byte for byte: labels, attributes, tags, other shapes, and what a
newer CVAT may have put there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from dataloaders.geometry import Box, Size, turned_box
from iog.bulk.files import atomic_output, copy_bytes
from iog.bulk.records import BoxedImage, BoxedObject, ImageFile, MaskRow, Outcomes
from iog.errors import DatasetError
from iog.forms.files import open_files, target
from iog.forms.images import Images
from iog.forms.pictures import Picture, bounds, drawn, from_cvat_runs, from_polygons
from iog.masks import Mask

__all__ = ["CvatXml"]

_NAME: Final = "annotations.xml"
_CHUNK: Final = 1 << 20
_TAG: Final = re.compile(rb"""<[^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>""")
_LONGEST_END: Final = 64
_FIRST_NEW_TRACK: Final = 1 << 24
_SHAPES: Final = ("box", "mask", "polygon")
# What says where a shape lies, and goes with it.
_PLACE: Final = ("xtl", "ytl", "xbr", "ybr", "rotation", "points", "rle", "left", "top", "width",
                 "height")  # fmt: skip


@dataclass
class _Shape:
    """A shape of the file: where its bytes are, and its attributes."""

    number: int
    kind: str
    start: int
    fields: dict[str, str]
    close: int = 0
    """Where its end tag begins, or where it ends if it has none."""


@dataclass
class _Block:
    """An image or a track with its shapes."""

    kind: str
    number: int
    start: int
    fields: dict[str, str]
    shapes: list[_Shape] = field(default_factory=list)
    close: int = 0


class CvatXml:
    """The ``Source`` and ``Sink`` of CVAT's own XML.

    In a file for images each box gives way to its mask. In a file for video, where CVAT has no
    tracks of masks, each visible keyframe of a box becomes a mask of its own frame, and a track
    goes when all its visible keyframes have one.

    Args:
        path: the XML file, or a folder or zip archive with ``annotations.xml`` and ``images``.
        images: folder or archive of the images, if they are elsewhere.
        out: what to write: a folder, or a file whose name ends in ``.zip`` or ``.xml``.
        form: ``rle`` for masks, ``polygon`` for outlines. Parts of one object share a group.
        tolerance: of the outlines, in pixels.
        redo: make new masks for masks and polygons, too.

    Raises:
        DatasetError: it is no such file.
    """

    def __init__(
        self,
        path: Path,
        images: Path | None,
        out: Path | None,
        *,
        form: Literal["rle", "polygon"] = "rle",
        tolerance: float = 1.0,
        redo: bool = False,
    ) -> None:
        files = open_files(path.parent if path.suffix.lower() == ".xml" else path)
        self._path = path
        self._name = path.name if path.suffix.lower() == ".xml" else _NAME
        self._images = Images.at(images, files, ("images", ""))
        self._out = out
        self._polygons = form == "polygon"
        self._tolerance = tolerance
        self._redo = redo
        self._files = files  # what it unpacks lives as long as it does
        self._xml = files.on_disk(self._name)
        self._size: Size | None = None
        self._labels: list[str] = []
        self._groups = 0
        self._count = 0
        self.kept = 0
        digest = hashlib.sha256()
        for block in self._blocks(digest):
            for shape in block.shapes:
                self._groups = max(self._groups, _whole(shape.fields.get("group_id")))
                wants = self._wants(block, shape)
                self._count += wants
                self.kept += not wants and block.kind == "image"
        self._sha256 = digest.hexdigest()

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {"input sha256": self._sha256, "redo": str(self._redo)}

    def count(self) -> int:
        """Boxes that want a mask."""
        return self._count

    def labels(self) -> list[str]:
        """The labels of the task, in its order."""
        return list(self._labels)

    def images(self) -> Iterator[BoxedImage]:
        """Images in the file's order; a video's frames by number."""
        frames: dict[int, list[BoxedObject]] = {}
        for block in self._blocks():
            wanted = self._wanted(block)
            if block.kind == "track":
                for each in wanted:
                    frame = frames.setdefault(_whole(each.fields.get("frame")), [])
                    frame.append(replace(_boxed(each), label=block.fields.get("label", "")))
            elif wanted:
                objects = tuple(_boxed(each) for each in wanted)
                name, file = block.fields.get("name", ""), self._file(block)
                yield BoxedImage(block.number, name, file, objects, _size(block.fields))
        for number, found in sorted(frames.items()):
            name = f"frame_{number:06d}"
            file = self._images.find(name)
            yield BoxedImage(-1 - number, name, file, tuple(found), self._size)

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """See ``Form.pictures``; of a video, the frames with boxes."""
        for block in self._blocks():
            if block.kind == "track":
                raise DatasetError(
                    f"{self._path} is of a video; export it from CVAT as 'CVAT for images 1.1'."
                )
            size = _size(block.fields)
            objects = []
            for each in block.shapes:
                boxed = _boxed(each)
                mask = _mask(each, size) if size is not None else None
                objects.append(drawn(boxed.label, boxed.box, outcomes.get(each.number), mask))
            name = block.fields.get("name", "")
            yield Picture(name, self._file(block), tuple(objects), size)

    def write(self, outcomes: Outcomes) -> None:
        """See ``Sink.write``.

        Raises:
            OSError: it cannot be written.
        """
        assert self._out is not None
        with self._written() as out, self._xml.open("rb") as file:
            for start, end, new in self._edits(file, outcomes):
                copy_bytes(file, out, start - file.tell())
                out.write(new)
                file.seek(end)
            copy_bytes(file, out, None)

    @contextmanager
    def _written(self) -> Iterator[BinaryIO]:
        assert self._out is not None
        if self._out.suffix.lower() == ".xml":
            with atomic_output(self._out) as file:
                yield file
        else:
            with target(self._out) as folder, folder.open(_NAME) as file:
                yield file

    def _edits(self, file: BinaryIO, outcomes: Outcomes) -> Iterator[tuple[int, int, bytes]]:
        """Start, end and new bytes of each piece that changes, in the file's order."""
        for block in self._blocks():
            wanted = self._wanted(block)
            rows = [outcomes.get(each.number) for each in wanted]
            found = [
                (each, row)
                for each, row in zip(wanted, rows, strict=True)
                if isinstance(row, MaskRow)
            ]
            if block.kind == "image":
                for shape, row in found:
                    inner, end = _extent(file, shape)
                    yield shape.start, end, self._element(shape, row, inner)
            elif found:
                new = [self._track(block, shape, row, file) for shape, row in found]
                end = block.start
                if len(found) == len(wanted):
                    end = _extent(file, block)[1]
                else:
                    new.append(b"")
                yield block.start, end, b"\n  ".join(new)

    def _track(self, block: _Block, shape: _Shape, row: MaskRow, file: BinaryIO) -> bytes:
        """A track of one frame: how CVAT writes a mask into a file for video."""
        # CVAT gives numbers of its own when it reads the file.
        fields: dict[str, object] = {**block.fields, "source": "semi-auto"}
        fields["id"] = _FIRST_NEW_TRACK + shape.number
        element = self._element(shape, row, _extent(file, shape)[0])
        return _tag("track", fields, b"\n    " + element + b"\n  ")

    def _element(self, shape: _Shape, row: MaskRow, inner: bytes) -> bytes:
        """The element of a mask, or the elements of its outlines."""
        mask = row.mask()
        if not self._polygons:
            *runs, left, top, right, bottom = mask.cvat_runs()
            place: dict[str, object] = {
                "rle": ", ".join(map(str, runs)),
                "left": left,
                "top": top,
                "width": right - left + 1,
                "height": bottom - top + 1,
            }
            return _tag("mask", _placed(shape.fields, place), inner)
        rings = [part["exterior"] for part in mask.polygon(self._tolerance)]
        fields = dict(shape.fields)
        if len(rings) > 1 and not _whole(fields.get("group_id")):
            fields["group_id"] = str(self._groups + 1 + shape.number)
        outlines = [";".join(f"{x:.2f},{y:.2f}" for x, y in ring) for ring in rings]
        return b"\n    ".join(
            _tag("polygon", _placed(fields, {"points": each}), inner) for each in outlines
        )

    def _wanted(self, block: _Block) -> list[_Shape]:
        return [each for each in block.shapes if self._wants(block, each)]

    def _wants(self, block: _Block, shape: _Shape) -> bool:
        if block.kind == "track":
            fields = shape.fields
            visible = fields.get("keyframe") == "1" and fields.get("outside") != "1"
            return shape.kind == "box" and visible
        return shape.kind == "box" or self._redo

    def _file(self, block: _Block) -> ImageFile:
        return self._images.find(block.fields.get("name", ""), block.fields.get("subset", ""))

    def _blocks(self, seen_by: Any = None) -> Iterator[_Block]:  # noqa: ANN401 - of hashlib
        """Images and tracks, one after the other."""
        reader = _Reader(self._path)
        with self._xml.open("rb") as file:
            while data := file.read(_CHUNK):
                if seen_by is not None:
                    seen_by.update(data)
                reader.feed(data)
                yield from reader.taken()
            reader.feed(b"", last=True)
            yield from reader.taken()
        self._labels, self._size = reader.labels, reader.original_size()


class _Reader:
    """Turns the file's bytes into blocks. No entities, so no bombs of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._opened
        self._parser.EndElementHandler = self._closed
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declared
        self._within: list[str] = []
        self._block: _Block | None = None
        self._shape: _Shape | None = None
        self._finished: list[_Block] = []
        self._numbers = {"image": 0, "track": 0, "shape": 0}
        self._words = ""
        self._original: dict[str, int] = {}
        self.labels: list[str] = []

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Read on.

        Raises:
            DatasetError: this is not CVAT's XML.
        """
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise DatasetError(f"{self._path} is not XML: {error}.") from error

    def taken(self) -> list[_Block]:
        """The blocks that are complete."""
        finished, self._finished = self._finished, []
        return finished

    def original_size(self) -> Size | None:
        """Of a video."""
        found = self._original
        return (found["height"], found["width"]) if len(found) == 2 else None

    def _doctype(self, *_: object) -> None:
        raise DatasetError(f"{self._path} has a DOCTYPE; CVAT writes none. It is not read.")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
            raise DatasetError(f"{self._path} is in {encoding}; CVAT writes UTF-8.")

    def _text(self, text: str) -> None:
        self._words += text

    def _opened(self, tag: str, fields: dict[str, str]) -> None:
        if not self._within and tag != "annotations":
            raise DatasetError(f"{self._path} is not CVAT's XML: it begins with <{tag}>.")
        self._within.append(tag)
        self._words = ""
        place = self._parser.CurrentByteIndex
        if tag in ("image", "track") and len(self._within) == 2:
            self._block = _Block(tag, self._numbers[tag], place, fields)
            self._numbers[tag] += 1
        elif tag in _SHAPES and self._block is not None and len(self._within) == 3:
            self._shape = _Shape(self._numbers["shape"], tag, place, fields)
            self._numbers["shape"] += 1
            self._block.shapes.append(self._shape)

    def _closed(self, tag: str) -> None:
        place = self._parser.CurrentByteIndex
        if len(self._within) == 3 and self._shape is not None:
            self._shape.close, self._shape = place, None
        elif len(self._within) == 2 and self._block is not None:
            self._block.close = place
            self._finished.append(self._block)
            self._block = None
        elif self._within[-3:] == ["labels", "label", "name"]:
            self.labels.append(self._words.strip())
        elif self._within[-2:-1] == ["original_size"] and self._words.strip().isdigit():
            self._original[tag] = int(self._words)
        self._within.pop()


def _extent(file: BinaryIO, item: _Shape | _Block) -> tuple[bytes, int]:
    """What is within an element, and where it ends. Leaves the file where it was."""
    before = file.tell()
    file.seek(item.start)
    whole = file.read(item.close - item.start + _LONGEST_END)
    file.seek(before)
    opening = _TAG.match(whole)
    assert opening is not None
    if opening[0].endswith(b"/>"):
        return b"", item.close
    length = item.close - item.start
    return whole[opening.end() : length], item.close + whole.index(b">", length) + 1 - length


def _tag(name: str, fields: dict[str, object], inner: bytes) -> bytes:
    words = "".join(f" {key}={quoteattr(str(value))}" for key, value in fields.items())
    if not inner:
        return f"<{name}{words}/>".encode()
    return f"<{name}{words}>".encode() + inner + f"</{name}>".encode()


def _placed(fields: dict[str, str], place: dict[str, object]) -> dict[str, object]:
    """Attributes with another place, which stands where the old one was."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        if name not in _PLACE:
            found[name] = value
        elif place:
            found.update(place)
            place = {}
    if "source" in found:
        found["source"] = "semi-auto"
    return {**found, **place}


def _boxed(shape: _Shape) -> BoxedObject:
    name = f"{shape.kind} number {shape.number}"
    label = shape.fields.get("label", "")
    try:
        return BoxedObject(shape.number, _box(shape), name, label)
    except (KeyError, ValueError):
        problem = "Its place is not in numbers."
        return BoxedObject(shape.number, (0.0, 0.0, 0.0, 0.0), name, label, problem=problem)


def _box(shape: _Shape) -> Box:
    """The upright box around a shape.

    Raises:
        KeyError, ValueError: its attributes do not say.
    """
    fields = shape.fields
    if shape.kind == "box":
        x1, y1, x2, y2 = (float(fields[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        return turned_box((x1, y1, x2, y2), float(fields.get("rotation", 0)))
    if shape.kind == "mask":
        left, top, width, height = (
            float(fields[name]) for name in ("left", "top", "width", "height")
        )
        return (left, top, left + width, top + height)
    return bounds(_points(fields))


def _points(fields: dict[str, str]) -> list[float]:
    return [float(each) for each in fields["points"].replace(";", ",").split(",")]


def _mask(shape: _Shape, size: Size) -> Mask | None:
    """The mask of a shape of the file; ``None`` of a box, and of what is none."""
    fields = shape.fields
    try:
        if shape.kind == "polygon":
            return from_polygons([_points(fields)], size)
        if shape.kind == "mask":
            left, top, width, height = (
                int(fields[name]) for name in ("left", "top", "width", "height")
            )
            runs = [float(each) for each in fields["rle"].split(",")]
            return from_cvat_runs([*runs, left, top, left + width - 1, top + height - 1], size)
    except (KeyError, ValueError):
        return None
    return None


def _size(fields: dict[str, str]) -> Size | None:
    height, width = _whole(fields.get("height")), _whole(fields.get("width"))
    return (height, width) if height and width else None


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
