"""CVAT's "Segmentation mask 1.1": masks painted in colours, a picture of objects and one of labels.

It has no boxes. As an input it has masks to make anew, each from its own tight box; as an output
CVAT imports it again. Where objects overlap, the smaller one is on top.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.cvat_masks import read_export, voc_colour
from dataloaders.geometry import Size
from iog.bulk.records import BoxedImage, BoxedObject, MaskRow, Outcomes
from iog.errors import DatasetError
from iog.forms.files import Files, Target, open_files, scratch, target
from iog.forms.images import Images
from iog.forms.pictures import Drawn, Picture, drawn, size_of
from iog.masks import Mask

__all__ = ["CvatMasks", "write_masks"]

_PER_IMAGE: Final = 1_000_000
_MOST: Final = 254
"""Objects of a picture: VOC's colour map has 256 colours, of which two are no objects."""
_KINDS: Final = ("SegmentationObject", "SegmentationClass")


class CvatMasks:
    """The ``Source`` and ``Sink`` of an export.

    Args:
        path: folder or zip archive.
        images: folder or archive of the images, if they are not in ``JPEGImages``.
        out: what to write: a folder, or a file whose name ends in ``.zip``.
        redo: make all masks anew; otherwise there is nothing to make.

    Raises:
        DatasetError: it is no such export.
    """

    def __init__(
        self, path: Path, images: Path | None, out: Path | None, *, redo: bool = False
    ) -> None:
        self._files = open_files(path)
        self._images = Images.at(images, self._files, ("JPEGImages", ""))
        self._out = out
        self._redo = redo
        root = _unpacked(self, self._files)
        self._export, self._names, _ = read_export(root, split=None)
        self._colours = self._export.colours()
        digest = hashlib.sha256()
        for name in self._names:
            for file in self._export.annotations(name):
                digest.update(name.encode() + file.read_bytes())
        self._sha256 = digest.hexdigest()
        objects = sum(len(self._export.objects(name)) for name in self._names)
        self._count = objects if redo else 0
        self.kept = objects - self._count

    def describe(self) -> dict[str, str]:
        """See ``Source.describe``."""
        return {"input sha256": self._sha256, "redo": str(self._redo)}

    def count(self) -> int:
        """Masks that are made anew."""
        return self._count

    def labels(self) -> list[str]:
        """The labels in the order of the label map, without the background."""
        return [label for label, colour in self._colours.items() if colour]

    def images(self) -> Iterator[BoxedImage]:
        """Photographs in the order of the lists."""
        if not self._redo:
            return
        for number, name in enumerate(self._names):
            objects = tuple(
                BoxedObject(number * _PER_IMAGE + index, each.box, f"object {index}", each.label)
                for index, each in self._objects(name)
            )
            if objects:
                size = self._export.instances(name).shape
                file = self._images.find(name)
                yield BoxedImage(number, name, file, objects, (size[0], size[1]))

    def pictures(self, outcomes: Outcomes) -> Iterator[Picture]:
        """See ``Form.pictures``."""
        for number, name in enumerate(self._names):
            objects = tuple(
                drawn(each.label, each.box, outcomes.get(number * _PER_IMAGE + index), each.mask)
                for index, each in self._objects(name)
            )
            size = self._export.instances(name).shape
            yield Picture(name, self._images.find(name), objects, (size[0], size[1]))

    def write(self, outcomes: Outcomes) -> None:
        """See ``Sink.write``: what has got no new mask stays as it was painted.

        Raises:
            OSError: it cannot be written.
        """
        assert self._out is not None
        with target(self._out) as folder:
            for name in self._files.names():
                if name == "labelmap.txt" or name.startswith("ImageSets/"):
                    with self._files.open(name) as file:
                        folder.write(name, file.read())
            for number, name in enumerate(self._names):
                maps = [_rgb(each) for each in self._export.colour_maps(name)]
                instances = self._export.instances(name)
                new: list[tuple[Mask, int, str]] = []
                for index, each in self._objects(name):
                    row = outcomes.get(number * _PER_IMAGE + index)
                    if isinstance(row, MaskRow):
                        for each_map in maps:
                            each_map[instances == index] = 0
                        new.append((row.mask(), index, each.label))
                _paint(maps, new, self._colours)
                _write_maps(folder, name, maps)

    def _objects(self, name: str) -> Iterator[tuple[int, Drawn]]:
        """Numbers of instances with their masks."""
        instances = self._export.instances(name)
        for number, label in self._export.objects(name):
            mask = Mask.from_array(instances == number)
            x0, y0, x1, y1 = mask.region
            yield number, Drawn(label, (float(x0), float(y0), float(x1), float(y1)), mask)


def write_masks(pictures: Iterable[Picture], labels: list[str], out: Path) -> str:
    """Write the masks of pictures as an export.

    Boxes without a mask are left out, and so are images that have no others.

    Returns:
        See ``Sink.write``.

    Raises:
        DatasetError: a picture has more objects than there are colours.
        OSError, RequestError: an image or the output cannot be read or written.
    """
    named = [label for label in dict.fromkeys(labels) if label != "background"]
    colours = {"background": 0}
    free = (index for index in range(1, 1 << 24) if index != 255)  # 255 is VOC's void
    colours |= {label: voc_colour(index) for label, index in zip(named, free, strict=False)}
    names = []
    left_out = 0
    with target(out) as folder:
        for picture in pictures:
            masks = [(each.mask, each.label) for each in picture.objects if each.mask is not None]
            masks = [(mask, label) for mask, label in masks if mask.area]
            left_out += len(picture.objects) - len(masks)
            if picture.objects and not masks:
                continue
            if len(masks) > _MOST:
                raise DatasetError(
                    f"{picture.name} has {len(masks)} objects; this form tells {_MOST} apart. "
                    "Write another one, such as --to coco."
                )
            name = str(PurePosixPath(picture.name).with_suffix(""))
            names.append(name)
            if masks:
                maps = [_blank(size_of(picture)) for _ in _KINDS]
                _paint(maps, [(mask, n + 1, label) for n, (mask, label) in enumerate(masks)],
                       colours)  # fmt: skip
                _write_maps(folder, name, maps)
        lines = [
            f"{label}:{colour >> 16},{colour >> 8 & 255},{colour & 255}::"
            for label, colour in colours.items()
        ]
        head = ["# label:color_rgb:parts:actions"]
        folder.write("labelmap.txt", ("\n".join(head + lines) + "\n").encode())
        folder.write(
            "ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in names).encode()
        )
    if not left_out:
        return ""
    return f"Objects that are not in the output, because they have got no mask: {left_out:,}."


def _unpacked(owner: object, files: Files) -> Path:
    """The folder of an export; of an archive, its masks and lists in a folder of ours."""
    if files.where.is_dir():
        return files.where
    root = scratch(owner)
    for name in files.names():
        if name == "labelmap.txt" or name.startswith((*_KINDS, "ImageSets/")):
            path = root / PurePosixPath(name)
            if ".." in path.parts:
                raise DatasetError(f"The file name {name!r} leads out of the data set.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.open(name) as file, path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
    return root


def _paint(
    maps: list[NDArray[np.uint8]], objects: list[tuple[Mask, int, str]], colours: dict[str, int]
) -> None:
    """Paint masks with their numbers into objects and labels, the smallest last."""
    for mask, number, label in sorted(objects, key=lambda each: -each[0].area):
        x0, y0, x1, y1 = mask.region
        for each, colour in zip(maps, (voc_colour(number), colours.get(label, 0)), strict=True):
            region = each[y0:y1, x0:x1]
            region[mask.pixels != 0] = (colour >> 16, colour >> 8 & 255, colour & 255)


def _blank(size: Size) -> NDArray[np.uint8]:
    return np.zeros((*size, 3), np.uint8)


def _rgb(painted: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Colours as channels; a greyscale map holds numbers of VOC's colours."""
    found = np.empty((*painted.shape, 3), np.uint8)
    for value in np.unique(painted).tolist():
        colour = voc_colour(-1 - value) if value < 0 else value
        found[painted == value] = (colour >> 16, colour >> 8 & 255, colour & 255)
    return found


def _write_maps(folder: Target, name: str, maps: list[NDArray[np.uint8]]) -> None:
    for kind, each in zip(_KINDS, maps, strict=True):
        _, data = cv2.imencode(".png", cv2.cvtColor(each, cv2.COLOR_RGB2BGR))
        folder.write(f"{kind}/{name}.png", data.tobytes())
