"""CVAT's "COCO 1.0": `annotations/instances_SUBSET.json` with the images beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from dataloaders.geometry import Size
from iog.bulk.coco import CocoBoxes
from iog.bulk.files import atomic_output, copy_bytes
from iog.bulk.records import BoxedImage, ImageFile, Outcome, Outcomes
from iog.errors import DatasetError, RequestError
from iog.forms.files import open_files, scratch, target
from iog.forms.images import Images
from iog.forms.pictures import Drawn, Picture, from_polygons, size_of
from iog.masks import Mask

__all__ = ["CvatCoco", "read_coco", "write_coco"]

_START, _END = "annotations/instances_", ".json"
_PER_FILE: Final = 1 << 40


class CvatCoco:
    """The ``Source`` and ``Sink`` of an export: each file of it as ``CocoBoxes``.

    Args:
        path: folder or zip archive.
        images: folder or archive of the images, if they are elsewhere.
        out: what to write: a folder, or a file whose name ends in ``.zip``. It has the annotations
            and no images.
        form, tolerance, redo: see ``CocoBoxes``.

    Raises:
        DatasetError: it is no such export.
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
        self._files = open_files(path)
        self._out = out
        found = Images.at(images, self._files, ("images", ""))
        folder = scratch(self)
        self._found = found
        self._parts: list[tuple[str, Path, CocoBoxes]] = []
        for name in self._files.names():
            if name.startswith(_START) and name.endswith(_END):
                written = folder / f"{len(self._parts)}.json"
                boxes = CocoBoxes(
                    self._files.on_disk(name),
                    partial(_find, found, name[len(_START) : -len(_END)]),
                    written,
                    form=form,
                    tolerance=tolerance,
                    redo=redo,
                )
                self._parts.append((name, written, boxes))
        if not self._parts:
            raise DatasetError(
                f"{path} has no annotations/instances_*.json; export it from CVAT as 'COCO 1.0', "
                "or give the file and its images: coco:FILE.json,IMAGES."
            )
        self.kept = sum(boxes.kept for *_, boxes in self._parts)

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        found: dict[str, str] = {}
        for name, _, boxes in self._parts:
            found |= {f"{name}: {key}": value for key, value in boxes.describe().items()}
        return found

    def count(self) -> int:
        """Annotations that want a mask."""
        return sum(boxes.count() for *_, boxes in self._parts)

    def images(self) -> Iterator[BoxedImage]:
        """File by file."""
        for part, (*_, boxes) in enumerate(self._parts):
            first = part * _PER_FILE
            for image in boxes.images():
                objects = tuple(replace(each, number=first + each.number) for each in image.objects)
                number = image.number + (first if image.number >= 0 else -first)
                yield replace(image, number=number, objects=objects)

    def write(self, outcomes: Outcomes) -> None:
        """See ``Sink.write``.

        Raises:
            OSError: it cannot be written.
        """
        assert self._out is not None
        self._write_parts(outcomes)
        with target(self._out) as folder:
            for name, written, _ in self._parts:
                with written.open("rb") as file, folder.open(name) as copy:
                    copy_bytes(file, copy, None)

    def labels(self) -> list[str]:
        """The categories of all files."""
        listed = (read_labels(self._files.on_disk(name)) for name, *_ in self._parts)
        return list(dict.fromkeys(label for labels in listed for label in labels))

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """See ``Form.pictures``. It holds one file in memory."""
        self._write_parts(outcomes)
        for name, written, _ in self._parts:
            subset = name[len(_START) : -len(_END)]
            yield from read_coco(written, partial(_find, self._found, subset))

    def _write_parts(self, outcomes: Outcomes) -> None:
        for part, (*_, boxes) in enumerate(self._parts):
            boxes.write(_Part(outcomes, part * _PER_FILE))


@dataclass(frozen=True)
class _Part:
    """The outcomes of one file, by its own numbers."""

    outcomes: Outcomes
    first: int

    def get(self, number: int) -> Outcome | None:
        return self.outcomes.get(self.first + number)

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        for number, outcome in self.outcomes:
            if self.first <= number < self.first + _PER_FILE:
                yield number - self.first, outcome


def _find(images: Images, subset: str, name: str) -> ImageFile:
    return images.find(name, subset)


def read_labels(path: Path) -> list[str]:
    """The categories of a COCO file."""
    content = json.loads(path.read_bytes())
    return [str(each["name"]) for each in content.get("categories", [])]


def read_coco(path: Path, find: Callable[[str], ImageFile]) -> Iterator[Picture]:
    """The images of a COCO file with their objects; holds it in memory.

    Crowds are left out, and what has neither box nor mask.

    Args:
        path: the file.
        find: gets the image of a name.

    Raises:
        DatasetError: an entry of it is not COCO's.
    """
    content = json.loads(path.read_bytes())
    try:
        labels = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for each in content["annotations"]:
            if each.get("iscrowd") != 1 and ("bbox" in each or each.get("segmentation")):
                by_image.setdefault(each["image_id"], []).append(each)
        for image in content["images"]:
            size = (int(image["height"]), int(image["width"]))
            objects = tuple(
                _drawn(each, labels.get(each.get("category_id"), ""), size)
                for each in by_image.get(image["id"], ())
            )
            name = str(image["file_name"])
            yield Picture(name, find(name), objects, size)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} has an entry that is not COCO's: {error!r}.") from error


def _drawn(entry: dict[str, Any], label: str, size: Size) -> Drawn:
    shape, mask = entry.get("segmentation"), None
    if isinstance(shape, dict) and shape.get("counts"):
        mask = Mask.from_rle(shape)
    elif shape:
        mask = from_polygons(shape, size)
    if "bbox" not in entry and mask is not None:
        return Drawn(label, tuple(map(float, mask.region)), mask)  # type: ignore[arg-type]
    x, y, width, height = map(float, entry["bbox"])
    return Drawn(label, (x, y, x + width, y + height), mask, entry.get("score"))


def write_coco(
    pictures: Iterable[Picture],
    labels: list[str],
    out: Path,
    *,
    form: Literal["rle", "polygon"] = "rle",
    tolerance: float = 1.0,
) -> str:
    """Write pictures as one COCO file; memory does not grow with their number.

    An image whose size nobody knows is left out.

    Returns:
        See ``Sink.write``.

    Raises:
        OSError: the output cannot be written.
    """
    numbers = {label: n + 1 for n, label in enumerate(dict.fromkeys(labels))}
    annotations = Path(tempfile.mkdtemp(prefix="iog-")) / "annotations"
    n = count = left_out = 0
    with atomic_output(out) as file:
        with annotations.open("w") as later:
            file.write(b'{"images": [')
            for picture in pictures:
                try:
                    height, width = size_of(picture)
                except (OSError, RequestError):
                    left_out += 1
                    continue
                n += 1
                entry = {"id": n, "file_name": picture.name, "height": height, "width": width}
                file.write(f"{',' if n > 1 else ''}\n{json.dumps(entry)}".encode())
                for each in picture.objects:
                    count += 1
                    number = numbers.setdefault(each.label, len(numbers) + 1)
                    later.write(f"{',' if count > 1 else ''}\n")
                    later.write(json.dumps(_entry(each, count, n, number, form, tolerance)))
        categories = [{"id": number, "name": label} for label, number in numbers.items()]
        file.write(f'\n], "categories": {json.dumps(categories)}, "annotations": ['.encode())
        with annotations.open("rb") as written:
            copy_bytes(written, file, None)
        file.write(b"\n]}\n")
    shutil.rmtree(annotations.parent, ignore_errors=True)
    if not left_out:
        return ""
    return f"Images that are not in the output, because they cannot be read: {left_out:,}."


def _entry(
    each: Drawn,
    number: int,
    image: int,
    category: int,
    form: Literal["rle", "polygon"],
    tolerance: float,
) -> dict[str, Any]:
    if each.mask is None or not each.mask.area:
        x1, y1, x2, y2 = each.box
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "segmentation": [],
        }
    found: dict[str, Any] = {
        **each.mask.to_coco(
            id=number, image_id=image, category_id=category, form=form, tolerance=tolerance
        )
    }
    if each.score is None:
        del found["score"]
    return found
