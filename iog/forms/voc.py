"""PASCAL VOC's XML: `Annotations/NAME.xml` with boxes, `JPEGImages/NAME.jpg`.

VOC counts pixels from 1 and includes the last. CVAT and others write fractions or zeros into the
same elements, which VOC's own counting cannot have: such a file is read as edges from 0.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from dataloaders.geometry import Box, Size
from iog.bulk.records import BoxedImage, BoxedObject, Outcomes
from iog.errors import DatasetError
from iog.forms.files import open_files
from iog.forms.images import Images
from iog.forms.pictures import Picture, drawn

__all__ = ["VocBoxes"]

_PER_IMAGE: Final = 1_000_000
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


class VocBoxes:
    """A ``Source``, and a ``Form`` to convert from: VOC has no masks in its XML.

    Args:
        path: folder or zip archive; the XML may lie in any ``Annotations`` folder, or beside the
            images.
        images: folder or archive of the images, if they are elsewhere.

    Raises:
        DatasetError: it is no such data set.
    """

    def __init__(self, path: Path, images: Path | None) -> None:
        self._files = open_files(path)
        names = [name for name in self._files.names() if name.endswith(".xml")]
        inside = [name for name in names if "Annotations" in PurePosixPath(name).parts[:-1]]
        self._names = inside or names
        roots = {str(PurePosixPath(name).parent.parent / "JPEGImages") for name in inside}
        beside = {str(PurePosixPath(name).parent) for name in self._names}
        self._images = Images.at(images, self._files, (*sorted(roots), *sorted(beside), ""))
        if not self._names:
            raise DatasetError(f"{path} has no Annotations/NAME.xml.")
        self._labels: dict[str, None] = {}
        self._count = 0
        self.kept = 0
        digest = hashlib.sha256()
        for name in self._names:
            with self._files.open(name) as file:
                digest.update(name.encode() + b"\n" + file.read())
            for label, *_ in self._objects(self._root(name)):
                self._labels[label] = None
                self._count += 1
        self._sha256 = digest.hexdigest()

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {"input sha256": self._sha256}

    def count(self) -> int:
        """Boxes: all of them want a mask."""
        return self._count

    def labels(self) -> list[str]:
        """The labels in the order in which they are met."""
        return list(self._labels)

    def images(self) -> Iterator[BoxedImage]:
        """The images with boxes, by the names of their files."""
        for number, name in enumerate(self._names):
            root = self._root(name)
            objects = tuple(
                BoxedObject(number * _PER_IMAGE + n, box, f"object {n + 1}", label, problem=problem)
                for n, (label, box, problem) in enumerate(self._objects(root))
            )
            if objects:
                image = _image_name(root, name)
                yield BoxedImage(number, image, self._images.find(image), objects, _size(root))

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """See ``Form.pictures``."""
        for number, name in enumerate(self._names):
            root = self._root(name)
            objects = tuple(
                drawn(label, box, outcomes.get(number * _PER_IMAGE + n))
                for n, (label, box, _) in enumerate(self._objects(root))
            )
            image = _image_name(root, name)
            yield Picture(image, self._images.find(image), objects, _size(root))

    def _root(self, name: str) -> ET.Element:
        with self._files.open(name) as file:
            data = file.read()
        where = f"{self._files.where}, {name}"
        try:
            text = data.decode("utf-8-sig")
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise DatasetError(f"{where} has a DOCTYPE; VOC's files have none. It is not read.")
            root = ET.fromstring(text.encode())
        except (ET.ParseError, UnicodeDecodeError, ValueError) as error:
            raise DatasetError(f"{where} is not XML in UTF-8: {error}.") from error
        if root.tag != "annotation":
            raise DatasetError(f"{where} is not of VOC: it begins with <{root.tag}>.")
        return root

    def _objects(self, root: ET.Element) -> list[tuple[str, Box, str]]:
        """Labels with boxes, and what is wrong with them."""
        found: list[tuple[str, list[float]]] = []
        for each in root.findall("object"):
            texts = [each.findtext(f"bndbox/{corner}") or "" for corner in _CORNERS]
            try:
                numbers = [float(text) for text in texts]
            except ValueError:
                numbers = []
            found.append((each.findtext("name") or "", numbers))
        # xmin and ymin of 0, or a fraction: no counting of pixels from 1.
        edges = any(
            min(numbers[:2]) < 1 or any(number % 1 for number in numbers)
            for _, numbers in found
            if numbers
        )
        start = 0 if edges else 1
        return [
            (label, (numbers[0] - start, numbers[1] - start, numbers[2], numbers[3]), "")
            if numbers
            else (label, (0.0, 0.0, 0.0, 0.0), "Its bndbox is not four numbers.")
            for label, numbers in found
        ]


def _image_name(root: ET.Element, name: str) -> str:
    """The image's name: that of the XML file, which people rename along with it."""
    ending = PurePosixPath((root.findtext("filename") or "").replace("\\", "/")).suffix or ".jpg"
    return PurePosixPath(name).stem + ending


def _size(root: ET.Element) -> Size | None:
    texts = root.findtext("size/height") or "", root.findtext("size/width") or ""
    if not all(text.strip().isdecimal() and int(text) for text in texts):
        return None
    return int(texts[0]), int(texts[1])
