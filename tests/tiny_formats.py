"""The same few objects written in every format that the readers know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
LABEL_COLOURS = {"dog": (12, 34, 56), "person": (200, 0, 10), "cow": (3, 255, 3)}


@dataclass(frozen=True)
class Photo:
    """A photograph and its map: 0 background, 255 void, objects from 1 with their categories."""

    name: str
    split: str
    numbers: NDArray[np.uint8]
    categories: tuple[str, ...]
    jpeg: bytes


def photos(*, void: bool = True) -> list[Photo]:
    """Photographs of different sizes with a rectangle, one in two parts, a disc and a ring."""
    first = np.zeros((40, 60), np.uint8)
    first[5:20, 10:30] = 1
    first[25:35, 5:15] = first[22:30, 40:55] = 2
    second = np.zeros((50, 35), np.uint8)
    cv2.circle(second, (17, 25), 13, 1, -1)
    cv2.circle(second, (17, 25), 6, 2, -1)
    second[0:3, 30:35] = 3
    third = np.zeros((30, 30), np.uint8)
    third[10:20, 10:20] = 1
    if void:
        first[20, 10:30] = 255
        second[45:] = 255
    return [
        _photo("2007_000001", "train", first, ("dog", "person")),
        _photo("2007_000002", "train", second, ("cow", "person", "dog")),
        _photo("2007_000003", "val", third, ("person",)),
    ]


def _photo(name: str, split: str, numbers: NDArray[np.uint8], categories: tuple[str, ...]) -> Photo:
    noise = np.random.default_rng(len(name) + numbers.size).integers(0, 255, (*numbers.shape, 3))
    _, jpeg = cv2.imencode(".jpg", noise.astype(np.uint8))
    return Photo(name, split, numbers, categories, jpeg.tobytes())


def palette(size: int = 256) -> list[tuple[int, int, int]]:
    """VOC's colour map, from its description: three bits at a time, from the lowest."""
    colours = []
    for index in range(size):
        red = green = blue = 0
        rest = index
        for place in range(7, -1, -1):
            red |= (rest & 1) << place
            green |= (rest >> 1 & 1) << place
            blue |= (rest >> 2 & 1) << place
            rest >>= 3
        colours.append((red, green, blue))
    return colours


def write_masks(root: Path, data: Sequence[Photo]) -> Path:
    """A folder with a manifest, as `InstanceMasks` reads it."""
    root.mkdir(parents=True)
    records = []
    for photo in data:
        (root / f"{photo.name}.jpg").write_bytes(photo.jpeg)
        cv2.imwrite(str(root / f"{photo.name}.png"), photo.numbers)
        height, width = photo.numbers.shape
        instances = [{"id": n, "category": name} for n, name in enumerate(photo.categories, 1)]
        records.append(
            {"set": "", "split": photo.split, "image": f"{photo.name}.jpg"}
            | {"mask": f"{photo.name}.png", "width": width, "height": height}
            | {"instances": instances}
        )
    (root / "manifest.json").write_text(json.dumps(records))
    return root


def write_voc(root: Path, data: Sequence[Photo]) -> Path:
    """VOC 2012 as its archive unpacks."""
    folder = root / "VOCdevkit" / "VOC2012"
    for photo in data:
        save(folder / "JPEGImages" / f"{photo.name}.jpg", photo.jpeg)
        classes = np.where(photo.numbers == 255, np.uint8(255), np.uint8(0))
        for number, name in enumerate(photo.categories, 1):
            classes[photo.numbers == number] = NAMES.index(name)
        for kind, values in (("Object", photo.numbers), ("Class", classes)):
            path = folder / f"Segmentation{kind}" / f"{photo.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(values).convert("P")
            picture.putdata(values.ravel().tolist())
            picture.putpalette([channel for colour in palette() for channel in colour])
            picture.save(path)
    _write_lists(folder / "ImageSets" / "Segmentation", data, every="trainval")
    return root


def write_sbd(root: Path, data: Sequence[Photo]) -> Path:
    """SBD as its archive unpacks."""
    folder = root / "benchmark_RELEASE" / "dataset"
    for photo in data:
        save(folder / "img" / f"{photo.name}.jpg", photo.jpeg)
        path = folder / "inst" / f"{photo.name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        categories = [[NAMES.index(name)] for name in photo.categories]
        numbers = np.where(photo.numbers == 255, np.uint8(0), photo.numbers)  # it has no void
        content = {"Segmentation": numbers, "Categories": np.array(categories, np.uint8)}
        savemat(path, {"GTinst": content})
    _write_lists(folder, data, every=None)
    return root


def write_coco(root: Path, data: Sequence[Photo]) -> tuple[Path, Path]:
    """A COCO file and its folder: a kind of mask for each object, void as a crowd."""
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for image_id, photo in enumerate(data, 40):
        save(root / "images" / f"{photo.name}.jpg", photo.jpeg)
        height, width = photo.numbers.shape
        images.append(
            {"id": image_id, "file_name": f"{photo.name}.jpg", "height": height, "width": width}
        )
        crowd = photo.numbers == 255
        if crowd.any():
            shape = {"segmentation": runs(crowd), "iscrowd": 1}
            annotations.append({"image_id": image_id, "category_id": 15, **shape})
        for number, name in enumerate(photo.categories, 1):
            mask = photo.numbers == number
            kinds = (polygons, compressed, runs)
            kind = polygons if photo.name != "2007_000002" else kinds[number % 3]
            annotations.append(
                {"image_id": image_id, "category_id": NAMES.index(name), "iscrowd": 0}
                | {"segmentation": kind(mask), "area": int(mask.sum()), "bbox": box(mask)}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = root / "annotations" / "instances_default.json"
    save(path, json.dumps(content).encode())
    return path, root / "images"


def write_cvat_masks(root: Path, data: Sequence[Photo]) -> Path:
    """CVAT's "Segmentation mask 1.1" with images, unpacked."""
    colours = np.array(palette(), np.uint8)
    for photo in data:
        save(root / "JPEGImages" / f"{photo.name}.jpg", photo.jpeg)
        classes = np.zeros((*photo.numbers.shape, 3), np.uint8)
        for number, name in enumerate(photo.categories, 1):
            classes[photo.numbers == number] = LABEL_COLOURS[name]
        for kind, values in (("Object", colours[photo.numbers]), ("Class", classes)):
            path = root / f"Segmentation{kind}" / f"{photo.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    write_labelmap(root / "labelmap.txt", {"background": (0, 0, 0), **LABEL_COLOURS})
    _write_lists(root / "ImageSets" / "Segmentation", data, every=None)
    return root


def write_labelmap(path: Path, colours: Mapping[str, tuple[int, int, int]]) -> None:
    """The list of labels that CVAT exports."""
    lines = [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in colours.items()]
    path.write_text("\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """A mask of rectangles, as polygons along the pixels' edges."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    found = []
    for part in range(1, parts.max() + 1):
        x, y, w, h = box(parts == part)
        found.append([x, y, x + w, y, x + w, y + h, x, y + h])
    return found


def compressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths."""
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run lengths, column by column from background."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {
        "size": list(mask.shape),
        "counts": np.diff([0, *changes.tolist(), mask.size]).tolist(),
    }


def box(mask: NDArray[np.bool_]) -> list[float]:
    """COCO's box: x, y, width, height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = float(columns[0]), float(rows[0])
    return [x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y]


def save(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_lists(folder: Path, data: Sequence[Photo], *, every: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        names = [photo.name for photo in data if photo.split == split]
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    if every:
        (folder / f"{every}.txt").write_text("".join(f"{photo.name}\n" for photo in data))
