from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataloaders.readers import missing_archives, open_dataset
from dataloaders.samples import Dataset
from iog.errors import DatasetError
from tests.tiny_formats import (
    Photo,
    photos,
    write_coco,
    write_cvat_masks,
    write_masks,
    write_sbd,
    write_voc,
)


def coco_spec(root: Path, data: list[Photo]) -> str:
    return "coco:{},{}".format(*write_coco(root, data))


# How to write each format, the answer being what to open; SBD alone has no void.
FORMATS: dict[str, Callable[[Path, list[Photo]], str]] = {
    "masks": lambda root, data: f"masks:{write_masks(root, data)}",
    "voc": lambda root, data: f"voc:{write_voc(root, data)}",
    "sbd": lambda root, data: f"sbd:{write_sbd(root, data)}",
    "coco": coco_spec,
    "cvat-masks": lambda root, data: f"cvat-masks:{write_cvat_masks(root, data)}",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_reader_gives_the_same_objects(kind: str, tmp_path: Path) -> None:
    data = photos(void=kind != "sbd")
    objects = open_dataset(FORMATS[kind](tmp_path / "data", data), split=None)
    expected = [(photo, number) for photo in data for number in range(len(photo.categories))]
    assert len(objects) == len(expected) == 6
    for index, (photo, number) in enumerate(expected):
        sample = objects[index]
        image = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        assert np.array_equal(sample.image, image)
        assert sample.mask.dtype == sample.void.dtype == np.bool_
        assert np.array_equal(sample.mask, photo.numbers == number + 1)
        assert np.array_equal(sample.void, photo.numbers == 255)
        assert (sample.image_id, sample.object_index) == (photo.name, number)
        assert sample.category == photo.categories[number]
        assert sample.subset == objects.subset(index) == ""
        assert sample.image_id == objects.image_id(index)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "coco"])
def test_a_split_is_its_photographs(kind: str, tmp_path: Path) -> None:
    spec = FORMATS[kind](tmp_path / "data", photos())
    assert names(open_dataset(spec, split="val")) == ["2007_000003"]
    assert names(open_dataset(spec, split="train")) == ["2007_000001"] * 2 + ["2007_000002"] * 3
    with pytest.raises(DatasetError, match=r"no split 'test'; it has: .*train.*val"):
        open_dataset(spec, split="test")


def names(objects: Dataset) -> list[str]:
    return [objects[index].image_id for index in range(len(objects))]


@pytest.mark.parametrize("kind", FORMATS)
def test_loading_processes_get_the_same_objects(kind: str, tmp_path: Path) -> None:
    objects = open_dataset(FORMATS[kind](tmp_path / "data", photos()), split=None)
    copy = pickle.loads(pickle.dumps(objects))
    assert np.array_equal(copy[3].mask, objects[3].mask)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_photograph_is_named(kind: str, tmp_path: Path) -> None:
    spec = FORMATS[kind](tmp_path / "data", photos())
    next((tmp_path / "data").rglob("2007_000002.jpg")).unlink()
    with pytest.raises(DatasetError, match=r"2007_000002\.jpg is missing"):
        open_dataset(spec, split=None)[2]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_photograph_of_another_size_is_named(kind: str, tmp_path: Path) -> None:
    spec = FORMATS[kind](tmp_path / "data", photos())
    other = next((tmp_path / "data").rglob("2007_000003.jpg"))
    cv2.imwrite(str(other), np.zeros((30, 31, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"2007_000003.jpg has 31 x 30 .* mask 30 x 30"):
        open_dataset(spec, split=None)[5]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_folder_gets_a_sentence(kind: str, tmp_path: Path) -> None:
    second = f",{tmp_path}" if kind == "coco" else ""
    with pytest.raises(DatasetError, match="is missing"):
        open_dataset(f"{kind}:{tmp_path}{second}", split=None)


@pytest.mark.parametrize(
    "spec", ["", "voc", "voc:", "zip:a.zip", "coco:a.json", "coco:a.json,", "coco:,b", "voc+sbd:,b"]
)
def test_what_names_no_data_set_is_refused(spec: str) -> None:
    with pytest.raises(DatasetError, match=r"names no data set; give one of voc:ROOT, .*masks:"):
        open_dataset(spec, split=None)


def test_a_path_may_contain_a_comma_where_there_is_one_path(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "a,b", photos())
    assert len(open_dataset(f"voc:{root}", split="val")) == 1


def test_a_coco_path_takes_the_split(tmp_path: Path) -> None:
    path, images = write_coco(tmp_path, photos())
    path.rename(path.with_name("instances_val.json"))
    spec = f"coco:{path.parent}/instances_{{split}}.json,{images}"
    assert len(open_dataset(spec, split="val")) == 6
    with pytest.raises(DatasetError, match=r"instances_train\.json is missing"):
        open_dataset(spec, split="train")


def test_the_union_leaves_out_what_voc_has(tmp_path: Path) -> None:
    one, two, three = photos(void=False)
    write_voc(tmp_path / "voc", [one, three])
    # SBD lists VOC's photographs too, val's among its own train.
    write_sbd(tmp_path / "sbd", [one, two, three])
    union = open_dataset(f"voc+sbd:{tmp_path}/voc,{tmp_path}/sbd", split="train")
    assert names(union) == ["2007_000001"] * 2 + ["2007_000002"] * 3
    parts = [union.subset(index) for index in range(len(union))]
    assert parts == [union[index].subset for index in range(len(union))]
    assert parts == ["voc"] * 2 + ["sbd"] * 3
    assert [union.image_id(index) for index in range(len(union))] == names(union)
    with pytest.raises(IndexError):
        union[5]
    held_out = open_dataset(f"voc+sbd:{tmp_path}/voc,{tmp_path}/sbd", split="val")
    assert names(held_out) == ["2007_000003"]
    with pytest.raises(DatasetError, match="no split 'trainval'; it has: train, val"):
        open_dataset(f"voc+sbd:{tmp_path}/voc,{tmp_path}/sbd", split="trainval")


def test_both_parts_of_the_union_may_share_a_folder(tmp_path: Path) -> None:
    one, two, three = photos(void=False)
    write_voc(tmp_path, [one, three])
    write_sbd(tmp_path, [two])
    assert len(open_dataset(f"voc+sbd:{tmp_path}", split="train")) == 5


def test_what_a_download_would_complete(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", photos())
    assert missing_archives(f"voc:{tmp_path}/voc") == []
    both = f"voc+sbd:{tmp_path}/voc,{tmp_path}/sbd"
    assert missing_archives(both) == [("sbd", tmp_path / "sbd")]
    (tmp_path / "voc/VOCdevkit/VOC2012/SegmentationClass/2007_000003.png").unlink()
    assert missing_archives(both) == [("voc", tmp_path / "voc"), ("sbd", tmp_path / "sbd")]
    with pytest.raises(DatasetError, match="masks data sets cannot be downloaded"):
        missing_archives("masks:somewhere")
