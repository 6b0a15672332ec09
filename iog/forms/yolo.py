"""YOLO: a text file for each image, a line for each object, numbers as parts of width and height.

Ultralytics keeps `images/` beside `labels/` and names the classes in `data.yaml`. CVAT's "YOLO 1.1"
keeps images and texts together in `obj_train_data/` and names the classes in `obj.names`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, Size
from iog.bulk.files import copy_bytes
from iog.bulk.records import BoxedImage, BoxedObject, ImageFile, MaskRow, Outcomes
from iog.errors import DatasetError, RequestError
from iog.forms.files import Files, Target, open_files, target
from iog.forms.images import Images
from iog.forms.pictures import Picture, bounds, drawn, from_polygons, size_of_file
from iog.masks import Mask

__all__ = ["YoloBoxes", "line_of", "write_yolo"]

_PER_IMAGE: Final = 1_000_000
"""More lines than a text has."""
_LEAST_OUTLINE: Final = 7
"""Words of a line: a class and three corners."""
_NAMES: Final = re.compile(r"(^|/)(obj\.names|[^/]*\.ya?ml)$")


@dataclass(frozen=True)
class _Text:
    """A text file with its image."""

    number: int
    name: str
    image: str
    """Path of the image in the data set; empty where there is none."""


class YoloBoxes:
    """The ``Source`` and ``Sink`` of YOLO's texts.

    A line of five numbers (or six: with a confidence) is a box, and a longer one an outline, which
    is kept. The output holds the names of the classes and the texts; each box has become an
    outline. Parts and holes of an object are joined by seams without width, because YOLO has one
    outline for an object.

    A text with a box that has got no mask is left out. Boxes among outlines would be read as
    outlines, and what a text leaves out counts as background.

    Args:
        path: folder or zip archive.
        images: folder or archive of the images, if they are elsewhere.
        out: what to write: a folder, or a file whose name ends in ``.zip``.
        tolerance: of the outlines, in pixels.
        redo: make new outlines for outlines, too.

    Raises:
        DatasetError: it is no such data set.
    """

    def __init__(
        self,
        path: Path,
        images: Path | None,
        out: Path | None,
        *,
        tolerance: float = 1.0,
        redo: bool = False,
    ) -> None:
        self._files = open_files(path)
        self._images = Images.at(images, self._files, ("",))
        self._out = out
        self._tolerance = tolerance
        self._redo = redo
        names = self._files.names()
        self._names_file = _names_file(names)
        self._labels = _labels(self._files, self._names_file) if self._names_file else []
        self._texts = _texts(names, self._images.listed(), apart=images is not None)
        if not self._texts:
            raise DatasetError(
                f"{path} has no images with texts: labels/NAME.txt for images/NAME.jpg, or "
                "NAME.txt beside it."
            )
        self._count = 0
        self.kept = 0
        digest = hashlib.sha256()
        for text in self._texts:
            lines = self._lines(text)
            digest.update(f"{text.name}\n{''.join(lines)}\n".encode())
            wanted = sum(self._wants(line) for line in lines)
            self._count += wanted
            self.kept += sum(1 for line in lines if line.strip()) - wanted
        self._sha256 = digest.hexdigest()

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {"input sha256": self._sha256, "redo": str(self._redo)}

    def count(self) -> int:
        """Boxes that want a mask."""
        return self._count

    def labels(self) -> list[str]:
        """The classes in their order; without names they are called by their numbers."""
        return list(self._labels)

    def images(self) -> Iterator[BoxedImage]:
        """The images that have boxes, by name."""
        for text in self._texts:
            lines = [(n, line) for n, line in enumerate(self._lines(text)) if self._wants(line)]
            if not lines:
                continue
            file, size, problem = self._file(text)
            objects = tuple(self._object(text, n, line, size, problem) for n, line in lines)
            yield BoxedImage(text.number, text.image or text.name, file, objects, size)

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """See ``Form.pictures``."""
        for text in self._texts:
            file, size, _ = self._file(text)
            objects = []
            for n, line in enumerate(self._lines(text)):
                words = line.split()
                if not words:
                    continue
                each = self._object(text, n, line, size, "")
                mask = None if size is None else _mask(words, size)
                objects.append(drawn(each.label, each.box, outcomes.get(each.number), mask))
            yield Picture(text.image or text.name, file, tuple(objects), size)

    def write(self, outcomes: Outcomes) -> str:
        """See ``Sink.write``.

        Raises:
            OSError: it cannot be written.
        """
        assert self._out is not None
        with target(self._out) as folder:
            if self._names_file:
                _copied(self._files, self._names_file, folder)
            left_out = 0
            for text in self._texts:
                lines = self._written(text, outcomes)
                if lines is None:
                    left_out += 1
                else:
                    folder.write(text.name, "".join(lines).encode())
        return _lacking(left_out)

    def _written(self, text: _Text, outcomes: Outcomes) -> list[str] | None:
        """The lines of a text; nothing if one of them has no outline."""
        lines = []
        for n, line in enumerate(self._lines(text)):
            row = outcomes.get(text.number * _PER_IMAGE + n)
            if isinstance(row, MaskRow):
                lines.append(line_of(line.split()[0], row.mask(), self._tolerance))
            elif 0 < len(line.split()) < _LEAST_OUTLINE:
                return None
            else:
                lines.append(line)
        return lines

    def _lines(self, text: _Text) -> list[str]:
        with self._files.open(text.name) as file:
            try:
                return file.read().decode().splitlines(keepends=True)
            except UnicodeDecodeError:
                raise DatasetError(f"{self._files.where}, {text.name} is no text.") from None

    def _wants(self, line: str) -> bool:
        count = len(line.split())
        return count > 0 and (count < _LEAST_OUTLINE or self._redo)

    def _file(self, text: _Text) -> tuple[ImageFile, Size | None, str]:
        """The image of a text with its size, or why there is none."""
        if not text.image:
            return b"", None, f"{text.name} has no image."
        file = self._images.find(text.image)
        try:
            return file, size_of_file(file), ""
        except (OSError, RequestError) as error:
            return file, None, getattr(error, "message", "") or str(error)

    def _object(
        self, text: _Text, n: int, line: str, size: Size | None, problem: str
    ) -> BoxedObject:
        words = line.split()
        label = words[0]
        if label.isdecimal() and int(label) < len(self._labels):
            label = self._labels[int(label)]
        box = (0.0, 0.0, 0.0, 0.0)
        try:
            box = _box([float(word) for word in words[1:]], size or (1, 1))
        except ValueError:
            problem = problem or "Its numbers are not those of a box or an outline."
        return BoxedObject(
            text.number * _PER_IMAGE + n, box, f"line {n + 1}", label, problem=problem
        )


def write_yolo(
    pictures: Iterable[Picture], labels: list[str], out: Path, *, tolerance: float = 1.0
) -> str:
    """Write outlines as ``labels/NAME.txt`` with ``data.yaml``.

    An image that has an object without an outline gets no text, as in ``YoloBoxes``.

    Returns:
        See ``Sink.write``.

    Raises:
        OSError: it cannot be written.
    """
    numbers = {label: n for n, label in enumerate(dict.fromkeys(labels))}
    left_out = 0
    with target(out) as folder:
        for picture in pictures:
            lines = [
                line_of(str(numbers.setdefault(each.label, len(numbers))), each.mask, tolerance)
                for each in picture.objects
                if each.mask is not None and each.mask.area
            ]
            if len(lines) < len(picture.objects):
                left_out += 1
                continue
            name = PurePosixPath("labels", picture.name).with_suffix(".txt")
            folder.write(str(name), "".join(lines).encode())
        # JSON is YAML, and needs no quoting rules of its own.
        names = "".join(f"  {n}: {json.dumps(label)}\n" for label, n in numbers.items())
        folder.write("data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{names}".encode())
    return _lacking(left_out)


def _lacking(left_out: int) -> str:
    if not left_out:
        return ""
    return (
        f"Label files that are not in the output, because a box of theirs has got no mask: "
        f"{left_out:,}. Leave their images out when you train: without a label file an image "
        "counts as one without objects."
    )


def line_of(number: str, mask: Mask, tolerance: float) -> str:
    """The line of an object: its class and one outline."""
    height, width = mask.size
    rings = [
        np.asarray(ring, np.float64)
        for part in mask.polygon(tolerance)
        for ring in (part["exterior"], *part["holes"])
    ]
    places = _joined(rings) / (width, height)
    return f"{number} {' '.join(f'{place:.6f}' for place in places.ravel())}\n"


def _names_file(names: list[str]) -> str | None:
    """The file of a data set that names its classes: the outermost, if there are several."""
    found = [name for name in names if _NAMES.search(name)]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def _labels(files: Files, name: str) -> list[str]:
    with files.open(name) as file:
        text = file.read().decode()
    if name.endswith("obj.names"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        import yaml
    except ModuleNotFoundError:
        raise DatasetError(
            f"{name} needs PyYAML: install it with `pip install -r requirements-bulk.txt`."
        ) from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DatasetError(f"{files.where}, {name} is not YAML: {error}") from error
    listed = content.get("names") if isinstance(content, dict) else None
    if isinstance(content, dict) and "kpt_shape" in content:
        raise DatasetError(
            f"{files.where}, {name} is of keypoints (kpt_shape): their lines look like outlines. "
            "Convert them to COCO's keypoints; `iog masks` takes those as clicks."
        )
    if isinstance(listed, dict) and all(isinstance(each, int) for each in listed):
        return [str(listed.get(n, n)) for n in range(max(listed, default=-1) + 1)]
    if isinstance(listed, list):
        return [str(each) for each in listed]
    raise DatasetError(f"{files.where}, {name} has no list `names`.")


def _texts(names: list[str], images: list[str], *, apart: bool) -> list[_Text]:
    """Texts with their images. A text without one is kept, so that somebody hears of it."""
    texts = {name for name in names if name.endswith(".txt")}
    found: dict[str, str] = {}
    for image in images:
        for name in _texts_of(image, apart=apart):
            if name in texts:
                found[name] = image
                break
    lone = [name for name in texts if "labels" in PurePosixPath(name).parts[:-1]]
    listed = sorted({*found, *lone})
    return [_Text(n, name, found.get(name, "")) for n, name in enumerate(listed)]


def _texts_of(image: str, *, apart: bool) -> Iterator[str]:
    """Where the text of an image may be."""
    path = PurePosixPath(image).with_suffix(".txt")
    parts = list(path.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        yield str(PurePosixPath(*parts[:last], "labels", *parts[last + 1 :]))
    if apart:
        yield str(PurePosixPath("labels", path))
    yield str(path)


def _box(numbers: list[float], size: Size) -> Box:
    """The box of a line without its class.

    Raises:
        ValueError: there are too few numbers, or an odd one is left.
    """
    height, width = size
    if len(numbers) in (4, 5):
        x, y, w, h = numbers[:4]
        return (
            (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        )  # fmt: skip
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("no outline")
    x1, y1, x2, y2 = bounds(numbers)
    return (x1 * width, y1 * height, x2 * width, y2 * height)


def _mask(words: list[str], size: Size) -> Mask | None:
    """The mask of an outline; ``None`` of a box, and of what is none."""
    try:
        numbers = [float(word) for word in words[1:]]
        if len(numbers) < 6 or len(numbers) % 2:
            return None
        scaled = np.asarray(numbers).reshape(-1, 2) * (size[1], size[0])
        return from_polygons([scaled.ravel().tolist()], size)
    except ValueError:
        return None


def _joined(rings: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One ring of many: each is reached from the nearest vertex, and left where it was reached."""
    whole = rings[0]
    for ring in rings[1:]:
        distance = ((whole[:, None] - ring[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.roll(ring, -int(there), axis=0)
        whole = np.concatenate((whole[: here + 1], around, around[:1], whole[here:]))
    return whole


def _copied(files: Files, name: str, folder: Target) -> None:
    with files.open(name) as file, folder.open(name) as copy:
        copy_bytes(file, copy, None)
