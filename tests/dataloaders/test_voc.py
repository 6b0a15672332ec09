from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataloaders.pascal import open_voc
from iog.errors import DatasetError
from tests.tiny_formats import photos, write_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path, photos())


def rewrite(root: Path, kind: str, values: NDArray[np.uint8]) -> None:
    """Replace a map of the validation split's photograph, 30 x 30."""
    Image.fromarray(values).save(root / "VOCdevkit/VOC2012" / kind / "2007_000003.png")


def test_the_category_is_that_of_the_first_pixel_row_by_row(root: Path) -> None:
    classes = np.full((30, 30), 15, np.uint8)
    classes[10, 10] = 3
    classes[11, 9:] = 12
    rewrite(root, "SegmentationClass", classes)
    assert open_voc(root, split="val")[0].category == "bird"


@pytest.mark.parametrize("number", [0, 21, 255])
def test_a_number_that_is_no_class_has_no_name(root: Path, number: int) -> None:
    rewrite(root, "SegmentationClass", np.full((30, 30), number, np.uint8))
    assert open_voc(root, split="val")[0].category == ""


def test_every_instance_with_a_pixel_counts_under_its_number(root: Path) -> None:
    numbers = np.zeros((30, 30), np.uint8)
    numbers[4, 4] = 3
    numbers[20:, :] = 254
    numbers[0] = 255
    rewrite(root, "SegmentationObject", numbers)
    objects = open_voc(root, split="val")
    assert [(objects[i].object_index, objects[i].mask.sum()) for i in range(2)] == [
        (2, 1),
        (253, 300),
    ]
    assert len(objects) == 2
    assert objects[0].void.sum() == 30


@pytest.mark.parametrize("inner", ["VOCdevkit", "VOCdevkit/VOC2012"])
def test_an_inner_folder_will_do_as_root(root: Path, inner: str) -> None:
    assert len(open_voc(root / inner, split="val")) == 1


def test_maps_of_different_sizes_are_refused(root: Path) -> None:
    rewrite(root, "SegmentationClass", np.zeros((30, 31), np.uint8))
    with pytest.raises(DatasetError, match=r"two maps of 2007_000003 .* differ in size"):
        open_voc(root, split="val")


def test_a_map_of_colours_is_refused(root: Path) -> None:
    rewrite(root, "SegmentationObject", np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"2007_000003\.png holds colours instead of numbers"):
        open_voc(root, split="val")


@pytest.mark.parametrize(
    "missing",
    [
        "JPEGImages/2007_000003.jpg",
        "SegmentationObject/2007_000003.png",
        "SegmentationClass/2007_000003.png",
    ],
)
def test_half_a_data_set_is_noticed_when_it_is_opened(root: Path, missing: str) -> None:
    (root / "VOCdevkit/VOC2012" / missing).unlink()
    sentence = rf"{missing} is missing; it is part of VOCtrainval_11-May-2012\.tar .*--download"
    with pytest.raises(DatasetError, match=sentence):
        open_voc(root, split="val")
    assert len(open_voc(root, split="train")) == 5


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken"])
def test_a_broken_map_is_named(root: Path, content: bytes) -> None:
    (root / "VOCdevkit/VOC2012/SegmentationObject/2007_000003.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"2007_000003\.png is not a readable image"):
        open_voc(root, split="val")


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_broken_photograph_is_named(root: Path, content: bytes) -> None:
    (root / "VOCdevkit/VOC2012/JPEGImages/2007_000003.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=r"2007_000003\.jpg is not a readable image"):
        open_voc(root, split="val")[0]


@pytest.mark.parametrize(
    "name", ["SegmentationObject/2007_000003.png", "JPEGImages/2007_000003.jpg"]
)
def test_a_file_that_vanishes_later_is_named(root: Path, name: str) -> None:
    objects = open_voc(root, split="val")
    (root / "VOCdevkit/VOC2012" / name).unlink()
    with pytest.raises(DatasetError, match=rf"{name} is missing"):
        objects[0]
