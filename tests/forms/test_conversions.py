"""CVAT's COCO 1.0, and every form written as every other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataloaders.coco import CocoObjects
from iog.errors import DatasetError
from iog.forms import TO, Options, open_form
from iog.masks import Mask
from tests.forms import test_cvat_masks, test_cvat_xml, test_yolo
from tests.forms.made import ellipse, lay, made, make, picture, read_back


def _coco(*, first: int) -> dict[str, Any]:
    """A file as CVAT writes it: a rectangle, and an object that has its outline."""
    attributes = {"occluded": False, "rotation": 0.0, "colour": "red"}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "year": ""},
        "categories": [{"id": 1, "name": "car", "supercategory": ""},
                       {"id": 2, "name": "person", "supercategory": ""}],
        "images": [{"id": 1, "width": 64, "height": 48, "file_name": f"{first}.png",
                    "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}],
        "annotations": [
            {"id": first, "image_id": 1, "category_id": 1, "segmentation": [], "area": 650.0,
             "bbox": [4.5, 5.0, 26.0, 25.0], "iscrowd": 0, "attributes": attributes},
            {"id": first + 1, "image_id": 1, "category_id": 2, "area": 100.0, "iscrowd": 0,
             "segmentation": [[40.0, 10, 50, 10, 50, 20, 40, 20]], "bbox": [40.0, 10, 10, 10],
             "attributes": attributes},
        ],
    }  # fmt: skip


def _export() -> dict[str, bytes]:
    return {
        "annotations/instances_train.json": json.dumps(_coco(first=1)).encode(),
        "annotations/instances_val.json": json.dumps(_coco(first=7)).encode(),
        "images/train/1.png": picture(),
        "images/val/7.png": picture(),
    }


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("out", ["out", "out.zip"])
def test_an_export_of_coco_keeps_all_but_what_a_mask_changes(
    out: str, archive: bool, tmp_path: Path
) -> None:
    path = lay(tmp_path / "in", _export(), archive=archive)

    form, sink = open_form(f"coco:{path}", tmp_path / out)
    seen = make(form, sink)

    assert (len(seen), form.kept) == (2, 2)
    written = read_back(tmp_path / out)
    assert sorted(written) == ["annotations/instances_train.json", "annotations/instances_val.json"]
    for name, first in (("train", 1), ("val", 7)):
        after, before = (
            json.loads(written[f"annotations/instances_{name}.json"]),
            _coco(first=first),
        )
        new, old = after["annotations"][0], before["annotations"][0]
        mask = Mask.from_rle(new["segmentation"])
        np.testing.assert_array_equal(
            mask.array, ellipse((4.5, 5.0, 30.5, 30.0), (48, 64)).mask().array
        )
        for each in (new, old):
            for changed in ("segmentation", "area", "bbox"):
                del each[changed]
        assert new.pop("score") == 1.0
        assert after == before


def test_a_single_file_has_its_images_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps(_coco(first=1)))
    photos = lay(tmp_path / "photos", {"1.png": picture()}, archive=True)

    make(*open_form(f"coco:{tmp_path / 'boxes.json'},{photos}", tmp_path / "out.json"))

    after = json.loads((tmp_path / "out.json").read_bytes())
    assert after["annotations"][0]["segmentation"]["size"] == [48, 64]


def _inputs(tmp_path: Path) -> dict[str, tuple[str, dict[str, int]]]:
    """A data set of each form, with its labels and how many objects of each have masks at last."""
    lone = _coco(first=1)
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "b.json").write_text(json.dumps(lone))
    photos = lay(tmp_path / "lone", {"1.png": picture()}, archive=False)
    xml = {"annotations.xml": test_cvat_xml.IMAGES, **test_cvat_xml.PHOTOS}
    return {
        "coco": (f"coco:{lay(tmp_path / 'coco', _export(), archive=True)}",
                 {"car": 2, "person": 2}),
        "coco file": (f"coco:{photos / 'b.json'},{photos}", {"car": 1, "person": 1}),
        "cvat": (f"cvat:{lay(tmp_path / 'cvat', xml, archive=True)}",
                 {"car & van": 1, "person": 3}),
        "cvat-masks": (f"cvat-masks:{test_cvat_masks._export(tmp_path, archive=True)}",
                       {"dog": 1, "person": 1}),
        "voc": (f"voc:{lay(tmp_path / 'voc', test_cvat_masks.FILES, archive=True)}",
                {"dog": 1, "cat": 1}),
        "yolo": (f"yolo:{lay(tmp_path / 'yolo', test_yolo.ULTRALYTICS, archive=False)}",
                 {"cat": 1, "big dog": 2}),
    }  # fmt: skip


@pytest.mark.parametrize("to", TO)
@pytest.mark.parametrize("kind", ["coco", "coco file", "cvat", "cvat-masks", "voc", "yolo"])
def test_every_form_is_written_as_every_other_with_old_and_new_masks(
    kind: str, to: str, tmp_path: Path
) -> None:
    spec, labels = _inputs(tmp_path)[kind]
    if kind.startswith(to):
        pytest.skip("its own form")
    out = tmp_path / ("out.json" if to == "coco" else "out")

    make(*open_form(spec, out, to=to))

    again = {"coco": f"coco:{out},{tmp_path}", "yolo": f"yolo:{out}"}.get(to, f"{to}:{out}")
    if to == "yolo":
        for text in sorted(out.rglob("*.txt")):
            image = out / "images" / text.relative_to(out / "labels").with_suffix(".png")
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(picture())
    form, _ = open_form(again, tmp_path / "x")
    found: dict[str, int] = {}
    for each in form.pictures(_Nothing()):  # type: ignore[attr-defined]
        for drawn in each.objects:
            assert drawn.mask is not None
            assert drawn.mask.area > 3
            found[drawn.label] = found.get(drawn.label, 0) + 1
    assert found == labels


class _Nothing:
    """No outcomes."""

    def get(self, number: int) -> None:
        return None

    def __iter__(self) -> Any:  # noqa: ANN401
        return iter(())


def test_a_converted_coco_file_is_read_by_the_data_set_reader(tmp_path: Path) -> None:
    spec, _ = _inputs(tmp_path)["voc"]

    make(*open_form(spec, tmp_path / "out.json", to="coco", options=Options(form="polygon")))

    photos = lay(tmp_path / "photos", {"a.png": picture()}, archive=False)
    read = CocoObjects(tmp_path / "out.json", photos)
    assert [read[index].category for index in range(len(read))] == ["dog", "cat"]


def test_yolo_gets_no_text_for_an_image_with_a_box_that_failed(tmp_path: Path) -> None:
    files = {"annotations.xml": test_cvat_xml.IMAGES, **test_cvat_xml.PHOTOS}
    path = lay(tmp_path / "in", files, archive=True)

    source = open_form(f"cvat:{path}", tmp_path / "out", to="yolo")
    _, lacking = made(*source, failing=("car & van",))

    assert sorted(read_back(tmp_path / "out")) == ["data.yaml", "labels/b.txt"]
    assert "has got no mask: 1. Leave their images out" in lacking


def test_annotations_without_a_box_are_converted_if_they_have_a_mask(tmp_path: Path) -> None:
    content = _coco(first=1)
    content["annotations"] = [{"id": 5, "image_id": 1, "category_id": 1, "caption": "A street."},
                              content["annotations"][1]]  # fmt: skip
    del content["annotations"][1]["bbox"]
    (tmp_path / "b.json").write_text(json.dumps(content))

    form, sink = open_form(f"coco:{tmp_path / 'b.json'}", tmp_path / "out", to="yolo")
    make(form, sink)

    assert (form.count(), form.kept) == (0, 2)
    assert read_back(tmp_path / "out")["labels/1.txt"].count(b"\n") == 1


def test_a_video_is_not_converted(tmp_path: Path) -> None:
    files = {"annotations.xml": test_cvat_xml.VIDEO, **test_cvat_xml.FRAMES}
    path = lay(tmp_path / "in", files, archive=True)

    with pytest.raises(DatasetError, match="is of a video; export it from CVAT as"):
        make(*open_form(f"cvat:{path}", tmp_path / "out.json", to="coco"))


@pytest.mark.parametrize(
    ("spec", "to", "sentence"),
    [
        ("labelme:x", None, "names no data set; give one of coco:PATH"),
        ("coco:", None, "names no data set"),
        ("cvat:x,", None, "names no data set"),
        ("cvat:x", "voc", "--to voc is none of coco, cvat, cvat-masks, yolo"),
        ("cvat:missing", None, "is neither a folder nor a zip archive"),
    ],
)
def test_specs_that_are_wrong_are_told(
    spec: str, to: str | None, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=sentence):
        open_form(spec, tmp_path / "out", to=to)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\..\\..\\b"])
def test_names_that_lead_out_of_the_data_set_are_refused(name: str, tmp_path: Path) -> None:
    xml = test_cvat_xml.IMAGES.replace(b"street/a.png", name.encode())
    path = lay(tmp_path / "in", {"annotations.xml": xml}, archive=False)

    form, sink = open_form(f"cvat:{path}", tmp_path / "out.xml")
    with pytest.raises(DatasetError, match="leads out of the data set"):
        make(form, sink)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", _export(), archive=True)

    for out in ("one.zip", "two.zip"):
        make(*open_form(f"coco:{path}", tmp_path / out))

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
