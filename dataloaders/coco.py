"""Reader of COCO's object instances: one JSON file and a folder of photographs.

CVAT writes the same as "COCO 1.0", and calls every mask that is no polygon a crowd.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from dataloaders import DatasetError
from dataloaders.samples import Entry, Listed, Sample, read_photo, require

_LEAST_AREA, _LEAST_THICKNESS = 100.0, 2.0
"""An object that claims less, in pixels, is drawn to see whether any pixel is left of it."""

Shape = list[list[float]] | dict[str, Any]
"""Polygons, each x, y, x, y, ...; or run lengths, compressed or not, with their size [H, W]."""


@dataclass(frozen=True)
class _Photo:
    file_name: str
    height: int
    width: int
    crowds: tuple[Shape, ...]


@dataclass(frozen=True)
class _Object(Entry):
    photo: _Photo
    shape: Shape


class CocoObjects(Listed):
    """The objects of one JSON file: photographs and their objects in the file's order.

    Regions marked as crowds are void and no objects, and so do not count where they cover an
    object either: there the object wins. Annotations without a mask (boxes, keypoints, outlines
    that cover no pixel) are left out.

    Args:
        path: the JSON file.
        images: the folder that its file names start from.

    Raises:
        DatasetError: a file is missing or not of this form.
    """

    def __init__(self, path: Path, images: Path) -> None:
        content = _load(path)
        try:
            self._entries: list[_Object] = _objects(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{path} is not a COCO file of object instances: {error!r} in the way"
            ) from error
        if not self._entries:
            raise DatasetError(f"{path} has no object with a mask")
        self._images = images
        advice = (
            f"{path} names it: give the folder with its photographs (COCO's are at "
            "https://cocodataset.org/#download, CVAT exports them with 'Save images')"
        )
        for name in dict.fromkeys(entry.photo.file_name for entry in self._entries):
            require(images / name, advice=advice)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        path = self._images / entry.photo.file_name
        image, mask = read_photo(path), _draw(entry.shape, entry.photo)
        void = np.zeros(mask.shape, np.bool_)
        for crowd in entry.photo.crowds:
            void |= _draw(crowd, entry.photo)
        return entry.sample(path, image, mask, void & ~mask)


def _load(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    advice = (
        "COCO's annotations are at https://cocodataset.org/#download, and CVAT writes "
        "annotations/instances_*.json when it exports 'COCO 1.0'"
    )
    try:
        return json.loads(require(path, advice=advice).read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error


def _objects(content: Any) -> list[_Object]:  # noqa: ANN401
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        shape = _shape(annotation.get("segmentation"))
        if shape:
            by_image[annotation["image_id"]].append({**annotation, "segmentation": shape})
    found: list[_Object] = []
    for record in content["images"]:
        annotations = by_image[record["id"]]
        photo = _Photo(
            file_name=str(record["file_name"]),
            height=int(record["height"]),
            width=int(record["width"]),
            crowds=tuple(a["segmentation"] for a in annotations if _is_crowd(a)),
        )
        name = Path(photo.file_name).stem
        single = [a for a in annotations if not _is_crowd(a) and _visible(a, photo)]
        found += [
            _Object(name, index, names.get(a["category_id"], ""), "", photo, a["segmentation"])
            for index, a in enumerate(single)
        ]
    return found


def _is_crowd(annotation: dict[str, Any]) -> bool:
    """Whether a region stands for several objects.

    CVAT's exporter sets ``iscrowd`` for every object that is a mask and not a polygon. Its
    annotations are known by their attribute ``occluded``, which COCO's do not have.
    """
    attributes = annotation.get("attributes")
    by_cvat = isinstance(attributes, dict) and "occluded" in attributes
    return bool(annotation.get("iscrowd")) and not by_cvat


def _shape(segmentation: Any) -> Shape | None:  # noqa: ANN401
    """What of a segmentation has an area: pycocotools takes a list of 4 numbers for a box."""
    if isinstance(segmentation, dict):
        return segmentation
    return [polygon for polygon in segmentation or () if len(polygon) >= 6]


def _visible(annotation: dict[str, Any], photo: _Photo) -> bool:
    """Whether an object covers a pixel; drawing all to see would take minutes for COCO's 860,000.

    What is thick in proportion to its length cannot fall between the pixels.
    """
    area, box = float(annotation.get("area", 0)), annotation.get("bbox") or (0, 0, 0, 0)
    inside = (
        box[0] >= 0
        and box[1] >= 0
        and box[0] + box[2] <= photo.width
        and box[1] + box[3] <= photo.height
    )
    thick = area >= _LEAST_THICKNESS * max(box[2], box[3])
    if inside and thick and area >= _LEAST_AREA and max(box[2], box[3]) > 0:
        return True
    return int(rle.area(_encode(annotation["segmentation"], photo))) > 0


def _draw(shape: Shape, photo: _Photo) -> NDArray[np.bool_]:
    """The mask of a shape, bool [H, W]; the parts of an object are united."""
    return np.asarray(rle.decode(_encode(shape, photo))) > 0


def _encode(shape: Shape, photo: _Photo) -> dict[str, Any]:
    """Compressed run lengths of a shape, as pycocotools wants them."""
    size = (photo.height, photo.width)
    encoded: dict[str, Any]
    if isinstance(shape, list):
        encoded = rle.merge(rle.frPyObjects(shape, *size))
    elif tuple(shape["size"]) != size:
        raise DatasetError(f"A mask of {photo.file_name} has the size {shape['size']}, not {size}")
    elif isinstance(shape["counts"], list):
        if sum(shape["counts"]) != photo.height * photo.width:
            # pycocotools would go on with whatever lies behind the mask's memory.
            raise DatasetError(f"A mask of {photo.file_name} has runs for another size than {size}")
        encoded = rle.frPyObjects(shape, *size)
    else:
        encoded = shape
    return encoded
