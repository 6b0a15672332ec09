from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataloaders.coco import CocoObjects
from iog.errors import DatasetError
from tests.tiny_formats import compressed, photos, runs, write_coco

# Annotations of one photograph, 40 x 60, opened.
Open = Callable[[list[dict[str, Any]]], CocoObjects]
SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path, photos()[:1])


@pytest.fixture
def opened(written: tuple[Path, Path]) -> Open:
    def write(annotations: list[dict[str, Any]]) -> CocoObjects:
        path, images = written
        content = json.loads(path.read_text())
        common = {"image_id": 40, "category_id": 12}
        content["annotations"] = [{**common, **annotation} for annotation in annotations]
        path.write_text(json.dumps(content))
        return CocoObjects(path, images)

    return write


def region(rows: slice, columns: slice) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros((40, 60), np.bool_)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize("shape", [compressed, runs, lambda _: [SQUARE]])
def test_a_crowd_is_void_and_no_object(opened: Open, shape: Callable[[Any], Any]) -> None:
    crowd = region(slice(10, 20), slice(10, 20))
    objects = opened(
        [
            {"segmentation": shape(crowd), "iscrowd": 1},
            {"segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "iscrowd": 0},
        ]
    )
    assert len(objects) == 1
    assert np.array_equal(objects[0].void, crowd)
    assert objects[0].mask.sum() == 25
    assert objects[0].object_index == 0


def test_an_object_wins_over_a_crowd(opened: Open) -> None:
    crowd = {"segmentation": runs(region(slice(0, 15), slice(0, 60))), "iscrowd": 1}
    sample = opened([crowd, {"segmentation": [SQUARE]}])[0]
    assert sample.mask.sum() == 100
    assert not (sample.mask & sample.void).any()
    assert sample.void.sum() == 15 * 60 - 50


def test_a_mask_from_cvat_is_an_object(opened: Open) -> None:
    painted = region(slice(0, 15), slice(0, 30))
    exported = {"iscrowd": 1, "attributes": {"occluded": False}}  # CVAT, of what is no polygon
    objects = opened([{"segmentation": runs(painted), **exported}, {"segmentation": [SQUARE]}])
    assert len(objects) == 2
    assert np.array_equal(objects[0].mask, painted)
    assert not objects[1].void.any()


def claims(area: float, box: list[float]) -> dict[str, Any]:
    return {"area": area, "bbox": box}


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"segmentation": []},
        {"segmentation": None},
        {"segmentation": [[1, 2, 30, 20]]},  # pycocotools would take it for a box
        {"segmentation": [[5, 5, 5, 5, 5, 5]]},
        {"segmentation": [[5, 5, 50, 5, 50, 5.01, 5, 5.01]], **claims(0.45, [5, 5, 45, 0.01])},
        {"segmentation": [[-30, 5, -10, 5, -10, 30, -30, 30]], **claims(500, [-30, 5, 20, 25])},
        {"segmentation": runs(np.zeros((40, 60), np.bool_))},
    ],
)
def test_what_covers_no_pixel_is_no_object(opened: Open, empty: dict[str, Any]) -> None:
    objects = opened([empty, {"segmentation": [SQUARE]}])
    assert [(objects[i].object_index, objects[i].mask.sum()) for i in range(len(objects))] == [
        (0, 100)
    ]
    with pytest.raises(DatasetError, match="has no object with a mask"):
        opened([empty])


def test_the_parts_of_an_object_are_united(opened: Open) -> None:
    other = [15, 15, 25, 15, 25, 25, 15, 25]
    assert opened([{"segmentation": [SQUARE, other, [1, 1, 2, 2]]}])[0].mask.sum() == 175


def test_a_category_without_name_is_no_obstacle(opened: Open) -> None:
    assert opened([{"segmentation": [SQUARE], "category_id": 99}])[0].category == ""


def test_photographs_may_lie_in_folders(written: tuple[Path, Path]) -> None:
    path, images = written
    (images / "deeper").mkdir()
    (images / "2007_000001.jpg").rename(images / "deeper" / "2007_000001.jpg")
    path.write_text(path.read_text().replace('"2007_000001.jpg', '"deeper/2007_000001.jpg'))
    assert CocoObjects(path, images)[0].image_id == "2007_000001"


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"size": [60, 40], "counts": [0, 2400]}, r"has the size \[60, 40\], not \(40, 60\)"),
        ({"size": [40, 60], "counts": [5, 5]}, r"has runs for another size than \(40, 60\)"),
    ],
)
def test_a_mask_of_another_size_is_refused(
    opened: Open, shape: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DatasetError, match=sentence):
        opened([{"segmentation": shape}])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"categories": [], "images": 3}'])
def test_a_file_of_another_form_is_refused(written: tuple[Path, Path], content: str) -> None:
    path, images = written
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"instances_default\.json is not"):
        CocoObjects(path, images)


def test_missing_files_are_named_with_their_source(written: tuple[Path, Path]) -> None:
    path, images = written
    (images / "2007_000001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2007_000001\.jpg is missing; .* 'Save images'"):
        CocoObjects(path, images)
    path.unlink()
    with pytest.raises(DatasetError, match=r"instances_default\.json is missing; .* 'COCO 1\.0'"):
        CocoObjects(path, images)
