"""COCO annotations and supervision's detections, as the packages themselves read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import supervision
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools.coco import COCO

from iog.masks import CocoAnnotation, Mask, Masks

SIZE = (20, 30)


def some() -> Masks:
    """A rectangle, nothing, and a ring with a speck beside it."""
    ring = np.zeros(SIZE, np.uint8)
    ring[3:13, 4:16] = 1
    ring[6:9, 8:11] = 0
    ring[18, 25] = 1
    rectangle = Mask.of_region(np.ones((2, 3), np.uint8), (4, 5), SIZE, score=0.5)
    return Masks([rectangle, Mask.from_array(np.zeros(SIZE)), Mask.from_array(ring)])


def as_coco_reads(annotations: list[CocoAnnotation], folder: Path) -> dict[int, NDArray[np.uint8]]:
    """The pixels of each annotation by pycocotools, of a file with one image."""
    content = {
        "images": [{"id": 7, "height": SIZE[0], "width": SIZE[1], "file_name": "photo.jpg"}],
        "categories": [{"id": 1, "name": "thing"}, {"id": 2, "name": "ring"}],
        "annotations": annotations,
    }
    (folder / "file.json").write_text(json.dumps(content))
    data = COCO(folder / "file.json")
    return {number: data.annToMask(data.anns[number]) for number in data.getAnnIds(imgIds=[7])}


def test_annotations_are_read_by_pycocotools(tmp_path: Path) -> None:
    masks = some()
    annotations = masks.to_coco(image_id=7, category_id=[1, 1, 2], first_id=40)

    assert [(a["id"], a["image_id"], a["category_id"]) for a in annotations] == [
        (40, 7, 1),
        (41, 7, 2),
    ]
    assert annotations[0]["bbox"] == [4, 5, 3, 2]
    assert [(a["area"], a["iscrowd"], a["score"]) for a in annotations] == [
        (6, 0, 0.5),
        (112, 0, 1),
    ]
    found = as_coco_reads(annotations, tmp_path)
    np.testing.assert_array_equal(found[40], masks[0].array)
    np.testing.assert_array_equal(found[41], masks[2].array)


def test_polygons_have_every_component_and_no_holes(tmp_path: Path) -> None:
    masks = some()
    annotations = masks.to_coco(image_id=7, category_id=2, form="polygon")

    assert [len(a["segmentation"]) for a in annotations] == [1, 2]
    assert annotations[1]["area"] == masks[2].area
    found = as_coco_reads(annotations, tmp_path)
    np.testing.assert_array_equal(found[1], masks[0].array)
    np.testing.assert_array_equal(found[2], masks[2].cleaned(fill_holes=9).array)


@given(arrays(np.uint8, st.just(SIZE), elements=st.integers(0, 1)).filter(np.any))
def test_exact_polygons_are_the_mask_for_pycocotools(
    tmp_path_factory: pytest.TempPathFactory, array: NDArray[np.uint8]
) -> None:
    mask = Mask.from_array(array).cleaned(fill_holes=array.size)
    row = mask.to_coco(id=1, image_id=7, category_id=1, form="polygon")
    found = as_coco_reads([row], tmp_path_factory.mktemp("coco"))
    np.testing.assert_array_equal(found[1], mask.array)


def test_tolerance_saves_vertices() -> None:
    y, x = np.mgrid[:60, :60]
    disc = Mask.from_array((x - 30) ** 2 + (y - 30) ** 2 < 600)
    exact, simple = (
        disc.to_coco(id=1, image_id=1, category_id=1, form="polygon", tolerance=tolerance)
        for tolerance in (0.0, 1.0)
    )
    assert len(str(simple["segmentation"])) < len(str(exact["segmentation"])) / 2


def test_what_coco_cannot_hold_is_refused() -> None:
    masks = some()
    with pytest.raises(ValueError, match="is empty"):
        masks[1].to_coco(id=1, image_id=1, category_id=1)
    with pytest.raises(ValueError, match="2 entries for 3 masks"):
        masks.to_coco(image_id=1, category_id=[1, 2])
    with pytest.raises(ValueError, match="2 entries for 3 masks"):
        masks.to_detections(class_id=[1, 2])
    with pytest.raises(ValueError, match="'rle' or 'polygon'"):
        masks[0].to_coco(id=1, image_id=1, category_id=1, form="png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance"):
        masks[0].to_coco(id=1, image_id=1, category_id=1, form="polygon", tolerance=-1)


def test_several_masks_are_one_detections() -> None:
    masks = some()
    found = masks.to_detections(class_id=[5, 6, 7])

    assert len(found) == 2
    assert found.class_id is not None
    assert found.class_id.tolist() == [5, 7]
    assert found.xyxy.tolist() == [[4, 5, 7, 7], [4, 3, 26, 19]]
    assert found.confidence is not None
    assert found.confidence.tolist() == [0.5, 1]
    assert found.data["index"].tolist() == [0, 2]  # type: ignore[union-attr]
    assert found.area.tolist() == [6, 112]
    drawn = supervision.MaskAnnotator(color=supervision.Color.RED, opacity=1).annotate(
        np.zeros((*SIZE, 3), np.uint8), found
    )
    np.testing.assert_array_equal(drawn.any(axis=2), masks[0].array | masks[2].array)


def test_one_mask_is_detections_of_one_object_or_none() -> None:
    masks = some()
    one = masks[0].to_detections()
    assert one.class_id is None
    assert one.xyxy.tolist() == [[4, 5, 7, 7]]
    assert len(masks[1].to_detections()) == 0
    assert len(Masks().to_detections()) == 0
    assert len(supervision.Detections.merge([one, masks[2].to_detections()])) == 2


def test_detections_and_masks_agree_on_the_box() -> None:
    found = some().to_detections()
    assert isinstance(found.mask, np.ndarray)
    # Theirs is inclusive on the right and at the bottom.
    theirs = supervision.mask_to_xyxy(found.mask)
    np.testing.assert_array_equal(theirs + np.array([0, 0, 1, 1]), found.xyxy)
