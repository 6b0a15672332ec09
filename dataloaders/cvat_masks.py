"""Reader of CVAT's export "Segmentation mask 1.1": PNGs painted in colours.

``SegmentationObject`` gives object n of a photograph the nth colour of VOC's colour map,
``SegmentationClass`` its label's colour, which ``labelmap.txt`` lists, one
``label:red,green,blue:parts:actions`` a line. ``ImageSets/Segmentation/SPLIT.txt`` lists the
photographs, ``JPEGImages`` holds them, when they were exported along.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataloaders import DatasetError
from dataloaders.pascal import CATEGORIES, VOID, IndexedDataset, Instance, numbered
from dataloaders.samples import read_labels, read_names

VOID_LABELS = ("ignored", "void")
"""Labels for what shall count neither way."""
_VOID_INDEX = 255
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG", ".bmp", ".webp", ".tif", ".tiff")
_ADVICE = (
    "export the task from CVAT again as 'Segmentation mask 1.1' with 'Save images' on, "
    "and unpack the whole archive"
)


def open_cvat_masks(root: Path, *, split: str | None) -> IndexedDataset:
    """The objects of one split of an export.

    An object's category is the label of its first pixel, row by row. Void are the pixels in the
    last colour of VOC's colour map and those labelled ``ignored`` or ``void``.

    Args:
        root: the unpacked archive.
        split: a subset's name in CVAT (``default`` unless somebody gave one), ``None`` for all.

    Raises:
        DatasetError: a file is missing or broken; the sentence says how to get it.
    """
    export, annotated, known = read_export(root, split=split)
    lists = root / "ImageSets" / "Segmentation"
    index = lists / f"{split or '_'.join(known)}.instances.json"
    return IndexedDataset(export, annotated, index=index)


def read_export(root: Path, *, split: str | None) -> tuple[Export, list[str], list[str]]:
    """An export with the photographs that have masks, and its splits.

    Raises:
        DatasetError: see ``open_cvat_masks``.
    """
    lists = root / "ImageSets" / "Segmentation"
    known = sorted(path.stem for path in lists.glob("*.txt"))
    if not known:
        raise DatasetError(f"{lists / 'default.txt'} is missing; {_ADVICE}")
    if split is not None and split not in known:
        raise DatasetError(f"{lists} has no split {split!r}; it has: {', '.join(known)}")
    ids = [
        name.strip('"')
        for part in ([split] if split else known)
        for name in read_names(lists / f"{part}.txt", advice=_ADVICE)
    ]
    export = Export(root)
    annotated = [name for name in dict.fromkeys(ids) if export.is_annotated(name)]
    if not annotated:
        raise DatasetError(f"{root} has no masks for the photographs in its lists; {_ADVICE}")
    return export, annotated, known


def voc_colour(index: int) -> int:
    """Colour ``index`` of VOC's colour map as 0xRRGGBB: its bits, dealt out to the channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return channels[0] << 16 | channels[1] << 8 | channels[2]


class Export:
    """The files of an export, and what they say of a photograph."""

    advice = _ADVICE

    def __init__(self, root: Path) -> None:
        self._root = root
        self._labels = root / "labelmap.txt"
        self._names = _label_names(self._labels)
        self._void = [colour for colour, name in self._names.items() if name in VOID_LABELS]
        self._photos = {
            path.relative_to(root / "JPEGImages").with_suffix("").as_posix(): path
            for path in (root / "JPEGImages").rglob("*")
            if path.suffix in _SUFFIXES
        }

    def is_annotated(self, image_id: str) -> bool:
        """CVAT lists photographs without any annotation too, but writes no masks for them."""
        kinds = ("SegmentationObject", "SegmentationClass")
        return any(self._map(kind, image_id).is_file() for kind in kinds)

    def colours(self) -> dict[str, int]:
        """Labels with their colours, 0xRRGGBB, in the order of the label map."""
        return {name: colour for colour, name in self._names.items() if colour >= 0}

    def colour_maps(self, image_id: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Objects and labels as they are painted, int32 [H, W] each, as ``read_labels`` has it."""
        kinds = ("SegmentationObject", "SegmentationClass")
        objects, labels = (read_labels(self._map(kind, image_id)) for kind in kinds)
        return objects, labels

    def photo(self, image_id: str) -> Path:
        """The photograph's file, or the one to complain about."""
        expected = self._root / "JPEGImages" / f"{image_id}.jpg"
        return self._photos.get(image_id, expected)

    def annotations(self, image_id: str) -> tuple[Path, ...]:
        """The files that say of a photograph's objects."""
        maps = (self._map("SegmentationObject", image_id), self._map("SegmentationClass", image_id))
        return (*maps, self._labels) if self._labels.is_file() else maps

    def instances(self, image_id: str) -> NDArray[np.int16]:
        """Numbers of objects, int16 [H, W]: 0 background, ``VOID`` void."""
        return self._read(image_id)[0]

    def objects(self, image_id: str) -> list[Instance]:
        """The objects with their labels."""
        instances, classes = self._read(image_id)
        return [
            Instance(number, self._names.get(int(classes.flat[place]), ""))
            for number, place in numbered(instances).items()
        ]

    def _read(self, image_id: str) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Instance numbers, and labels as ``read_labels`` gives them."""
        painted, classes = self.colour_maps(image_id)
        if painted.shape != classes.shape:
            raise DatasetError(f"The two masks of {image_id} in {self._root} differ in size")
        instances = _numbers(painted)
        instances[np.isin(classes, self._void)] = VOID
        return instances, classes

    def _map(self, kind: str, image_id: str) -> Path:
        return self._root / kind / f"{image_id}.png"


def _numbers(painted: NDArray[np.int32]) -> NDArray[np.int16]:
    """Instance numbers of a map of colours; unknown colours come after those of the colour map."""
    known = {voc_colour(index): index for index in range(_VOID_INDEX + 1)}
    colours = np.unique(painted)
    numbers: list[int] = []
    for colour in colours.tolist():
        if colour < 0:  # a greyscale file holds the number itself
            colour = voc_colour(-1 - colour)
        numbers.append(known.setdefault(colour, len(known)))
    table = np.array([VOID if number == _VOID_INDEX else number for number in numbers], np.int16)
    return table[np.searchsorted(colours, painted)]


def _label_names(path: Path) -> dict[int, str]:
    """Label names by colour, and by line number as a greyscale mask holds it.

    An archive may go without the file when its labels are VOC's.
    """
    names: tuple[str, ...]
    if not path.is_file():
        names = ("background", *CATEGORIES)
        colours = [voc_colour(index) for index in range(len(names))]
    else:
        lines = [line.rsplit(":", 3) for line in read_names(path, advice=_ADVICE) if line[0] != "#"]
        try:
            names = tuple(name for name, *_ in lines)
            channels = [[int(value) for value in line[1].split(",")] for line in lines]
            colours = [red << 16 | green << 8 | blue for red, green, blue in channels]
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{path} is not a list of label:red,green,blue::; {_ADVICE}"
            ) from error
    by_line = {-1 - line: name for line, name in enumerate(names)}
    return {**by_line, **dict(zip(colours, names, strict=True))}
