from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataloaders.cvat_masks import open_cvat_masks, voc_colour
from iog.errors import DatasetError
from tests.tiny_formats import palette, photos, write_cvat_masks, write_labelmap

VAL = "2007_000003"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cvat_masks(tmp_path, photos())


def paint(root: Path, kind: str, values: NDArray[np.uint8]) -> None:
    Image.fromarray(values).save(root / kind / f"{VAL}.png")


def test_the_colour_map_is_vocs() -> None:
    assert [voc_colour(i) for i in range(256)] == [r << 16 | g << 8 | b for r, g, b in palette()]


def test_one_subset_without_a_name(root: Path) -> None:
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").unlink()
    (lists / "val.txt").rename(lists / "default.txt")
    assert len(open_cvat_masks(root, split="default")) == 1
    with pytest.raises(DatasetError, match="no split 'val'; it has: default"):
        open_cvat_masks(root, split="val")


@pytest.mark.parametrize("label", ["ignored", "void"])
def test_some_labels_are_void(root: Path, label: str) -> None:
    classes = np.zeros((30, 30, 3), np.uint8)
    classes[10:20, 10:20] = 200, 0, 10
    classes[10:13] = 9, 9, 9
    paint(root, "SegmentationClass", classes)
    write_labelmap(root / "labelmap.txt", {label: (9, 9, 9), "person": (200, 0, 10)})
    sample = open_cvat_masks(root, split="val")[0]
    assert sample.category == "person"
    assert np.array_equal(sample.void, (classes == 9).all(axis=2))
    assert sample.mask.sum() == 70


def test_a_changed_label_is_noticed(root: Path) -> None:
    assert open_cvat_masks(root, split="val")[0].category == "person"
    write_labelmap(root / "labelmap.txt", {"a:b, c": (200, 0, 10)})
    assert open_cvat_masks(root, split="val")[0].category == "a:b, c"


def test_a_colour_without_label_has_no_name(root: Path) -> None:
    write_labelmap(root / "labelmap.txt", {"background": (0, 0, 0)})
    assert open_cvat_masks(root, split="val")[0].category == ""


def test_masks_of_numbers_are_read_too(root: Path) -> None:
    # CVAT takes masks of one channel back in: numbers of objects, and of lines of the label map.
    numbers = np.zeros((30, 30), np.uint8)
    numbers[3:6, 3:6] = 7
    numbers[9] = 255
    paint(root, "SegmentationObject", numbers)
    paint(root, "SegmentationClass", np.where(numbers == 7, np.uint8(2), np.uint8(0)))
    sample = open_cvat_masks(root, split="val")[0]
    assert (sample.object_index, sample.category, sample.mask.sum()) == (6, "person", 9)
    assert np.array_equal(sample.void, numbers == 255)


def test_palettes_are_colours(root: Path) -> None:
    path = root / "SegmentationObject" / f"{VAL}.png"
    before = open_cvat_masks(root, split="val")[0]
    with Image.open(path) as image:
        palette_image = image.quantize()
    palette_image.save(path)
    assert palette_image.mode == "P"
    assert np.array_equal(open_cvat_masks(root, split="val")[0].mask, before.mask)


def test_unknown_colours_are_objects_of_their_own(root: Path) -> None:
    painted = np.zeros((30, 30, 3), np.uint8)
    painted[3:6, 3:6] = 1, 2, 3
    painted[9:12, 9:12] = palette()[4]
    painted[20:, 20:] = 3, 2, 1
    paint(root, "SegmentationObject", painted)
    objects = open_cvat_masks(root, split="val")
    assert [objects[i].object_index for i in range(3)] == [3, 255, 256]
    assert [objects[i].mask.sum() for i in range(3)] == [9, 9, 100]


def test_a_photograph_nobody_annotated_has_no_masks(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(f"nothing_here\n{VAL}\n")
    assert len(open_cvat_masks(root, split="val")) == 1
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("nothing_here\n")
    with pytest.raises(DatasetError, match="has no masks for the photographs in its lists"):
        open_cvat_masks(root, split="val")


@pytest.mark.parametrize(
    ("name", "line"), [("my photo", '"my photo"'), ("a/b.c", "a/b.c"), ("my photo", "my photo")]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".JPEG"])
def test_photographs_have_all_kinds_of_names(root: Path, name: str, line: str, suffix: str) -> None:
    folders = (("JPEGImages", ".jpg", suffix), ("SegmentationObject", ".png", ".png"))
    for folder, old, new in (*folders, ("SegmentationClass", ".png", ".png")):
        (root / folder / f"{name}{new}").parent.mkdir(exist_ok=True)
        (root / folder / f"{VAL}{old}").rename(root / folder / f"{name}{new}")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(f"{line}\n")
    sample = open_cvat_masks(root, split="val")[0]
    assert (sample.image_id, sample.mask.sum()) == (name, 100)


def test_without_a_label_map_the_labels_are_vocs(root: Path) -> None:
    (root / "labelmap.txt").unlink()
    classes = np.zeros((30, 30, 3), np.uint8)
    classes[10:20, 10:20] = palette()[17]
    paint(root, "SegmentationClass", classes)
    assert open_cvat_masks(root, split="val")[0].category == "sheep"


@pytest.mark.parametrize("line", ["dog", "dog:1,2::", "dog:red::"])
def test_a_label_map_of_another_form_is_refused(root: Path, line: str) -> None:
    (root / "labelmap.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=r"labelmap\.txt is not a list of label:red,green,blue"):
        open_cvat_masks(root, split="val")


def test_masks_of_different_sizes_are_refused(root: Path) -> None:
    paint(root, "SegmentationClass", np.zeros((30, 31, 3), np.uint8))
    with pytest.raises(DatasetError, match=rf"two masks of {VAL} .* differ in size"):
        open_cvat_masks(root, split="val")


@pytest.mark.parametrize("missing", [f"JPEGImages/{VAL}.jpg", f"SegmentationClass/{VAL}.png"])
def test_half_an_export_is_noticed_when_it_is_opened(root: Path, missing: str) -> None:
    (root / missing).unlink()
    with pytest.raises(DatasetError, match=rf"{missing} is missing; export .* 'Save images' on"):
        open_cvat_masks(root, split="val")
