"""YOLO's texts: boxes become outlines, everything else stays."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from iog.errors import DatasetError
from iog.forms import Options, open_form
from tests.forms.made import ellipse, lay, made, make, picture, read_back, two_parts

BOX = "1 0.500000 0.5 0.25 0.5\n"  # 24..40, 12..36 of 64 x 48
OUTLINE = "0 0.1 0.1 0.30000001 0.1 0.3 0.3\n"
ULTRALYTICS = {
    "data.yaml": b"path: .\ntrain: images/train\nnames:\n  0: cat\n  1: big dog\nextra: kept\n",
    "images/train/a.png": picture(),
    "images/train/b.png": picture(),
    "labels/train/a.txt": (OUTLINE + BOX + "1 0.2 0.2 0.1 0.1 0.987\n").encode(),
    "labels/train/b.txt": b"",
}
CVAT = {
    "obj.data": b"classes = 2\nnames = data/obj.names\ntrain = data/train.txt\n",
    "obj.names": b"cat\nbig dog\n",
    "train.txt": b"data/obj_train_data/a.png\n",
    "obj_train_data/a.png": picture(),
    "obj_train_data/a.txt": BOX.encode(),
}


def _drawn(line: str) -> NDArray[np.bool_]:
    """The pixels within an outline, as OpenCV fills it (with its border)."""
    numbers = np.array([float(word) for word in line.split()[1:]]).reshape(-1, 2) * (64, 48)
    canvas = np.zeros((48, 64), np.uint8)
    cv2.fillPoly(canvas, [np.round(numbers * 16).astype(np.int32)], 1, shift=4)
    return canvas > 0


@pytest.mark.parametrize("archive", [False, True])
def test_boxes_become_outlines_and_the_rest_stays(archive: bool, tmp_path: Path) -> None:
    path = lay(tmp_path / "in", ULTRALYTICS, archive=archive)

    form, sink = open_form(f"yolo:{path}", tmp_path / "out", options=Options(tolerance=0))
    seen = make(form, sink)

    boxes = {name: each.box for name, each in seen.items()}
    assert boxes == {
        "images/train/a.png: line 2": pytest.approx((24, 12, 40, 36)),
        "images/train/a.png: line 3": pytest.approx((9.6, 7.2, 16, 12)),
    }
    assert [each.label for each in seen.values()] == ["big dog", "big dog"]
    assert form.kept == 1
    written = read_back(tmp_path / "out")
    assert sorted(written) == ["data.yaml", "labels/train/a.txt", "labels/train/b.txt"]
    assert written["data.yaml"] == ULTRALYTICS["data.yaml"]
    assert written["labels/train/b.txt"] == b""
    first, second, _ = written["labels/train/a.txt"].decode().splitlines(keepends=True)
    assert first == OUTLINE
    assert second.startswith("1 ")
    expected = ellipse((24, 12, 40, 36), (48, 64)).mask().array
    assert (_drawn(second) & expected).sum() == expected.sum()
    assert (_drawn(second) & ~expected).sum() <= 60  # OpenCV draws the border, too


def test_cvats_own_layout_is_read_and_written(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", CVAT, archive=True)

    seen = make(*open_form(f"yolo:{path}", tmp_path / "out.zip"))

    assert [each.label for each in seen.values()] == ["big dog"]
    written = read_back(tmp_path / "out.zip")
    assert sorted(written) == ["obj.names", "obj_train_data/a.txt"]
    assert len(written["obj_train_data/a.txt"].split()) > 7


def test_parts_and_holes_are_joined_into_one_outline(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", CVAT, archive=False)

    make(*open_form(f"yolo:{path}", tmp_path / "out"), shape=two_parts)

    (line,) = read_back(tmp_path / "out")["obj_train_data/a.txt"].decode().splitlines()
    expected = two_parts((24, 12, 40, 36), (48, 64)).mask().array
    drawn = _drawn(line)
    assert (drawn & expected).sum() == expected.sum()
    inside = (
        cv2.erode((~expected).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    )  # not on a border
    assert (drawn & inside)[:, 30:34].sum() <= 6  # the seam between the parts


def test_redo_takes_outlines_by_the_box_around_them(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", ULTRALYTICS, archive=False)

    seen = make(*open_form(f"yolo:{path}", tmp_path / "out", options=Options(redo=True)))

    assert seen["images/train/a.png: line 1"].box == pytest.approx((6.4, 4.8, 19.2, 14.4))


def test_images_may_be_elsewhere(tmp_path: Path) -> None:
    texts = lay(tmp_path / "in", {"obj.names": b"x\ny\n", "labels/a.txt": BOX.encode()},
                archive=False)  # fmt: skip
    photos = lay(tmp_path / "photos", {"a.png": picture()}, archive=True)

    make(*open_form(f"yolo:{texts},{photos}", tmp_path / "out"))

    assert len(read_back(tmp_path / "out")["labels/a.txt"].split()) > 7


def test_what_is_wrong_with_a_line_or_an_image_is_listed(tmp_path: Path) -> None:
    broken = {"labels/train/b.txt": b"0 0.5 0.5 x 0.5\n0 0.5\n1 .5 .5 .5 .5\n",
              "labels/train/c.txt": BOX.encode(), "images/train/d.png": b"no image",
              "labels/train/d.txt": BOX.encode()}  # fmt: skip
    path = lay(tmp_path / "in", {**ULTRALYTICS, **broken}, archive=False)
    form, _ = open_form(f"yolo:{path}", tmp_path / "out")

    problems = {
        f"{image.name}: {each.name}": each.problem for image in form.images()
        for each in image.objects
    }  # fmt: skip

    assert problems["images/train/b.png: line 1"] == (
        "Its numbers are not those of a box or an outline."
    )
    assert problems["images/train/b.png: line 2"]
    assert problems["images/train/b.png: line 3"] == ""
    assert problems["labels/train/c.txt: line 1"] == "labels/train/c.txt has no image."
    assert problems["images/train/d.png: line 1"]


def _some_fail(tmp_path: Path) -> Path:
    """`a` has a cat that gets no mask, `d` cannot be read, `c` has no image; the rest is fine."""
    more = {"labels/train/a.txt": (OUTLINE + "0 0.5 0.5 0.25 0.5\n" + BOX).encode(),
            "labels/train/c.txt": BOX.encode(), "images/train/d.png": b"no image",
            "labels/train/d.txt": BOX.encode(), "images/train/e.png": picture(),
            "labels/train/e.txt": (OUTLINE + BOX).encode()}  # fmt: skip
    return lay(tmp_path / "in", {**ULTRALYTICS, **more}, archive=False)


def test_no_box_is_among_outlines_and_none_counts_as_background(tmp_path: Path) -> None:
    path = _some_fail(tmp_path)

    _, lacking = made(*open_form(f"yolo:{path}", tmp_path / "out"), failing=("cat",))

    written = read_back(tmp_path / "out")
    assert sorted(written) == ["data.yaml", "labels/train/b.txt", "labels/train/e.txt"]
    assert [len(line.split()) > 6 for line in written["labels/train/e.txt"].splitlines()] == [
        True, True
    ]  # fmt: skip
    assert "because a box of theirs has got no mask: 3. Leave their images out" in lacking


def test_an_outline_that_is_not_made_anew_stays(tmp_path: Path) -> None:
    files = {**ULTRALYTICS, "labels/train/a.txt": (OUTLINE + BOX).encode()}
    path = lay(tmp_path / "in", files, archive=False)

    source = open_form(f"yolo:{path}", tmp_path / "out", options=Options(redo=True))
    _, lacking = made(*source, failing=("cat",))

    assert read_back(tmp_path / "out")["labels/train/a.txt"].startswith(OUTLINE.encode())
    assert lacking == ""


@pytest.mark.parametrize(
    ("to", "images", "sentence"),
    [
        ("coco", ["images/train/a.png", "images/train/b.png", "images/train/e.png"],
         "Images that are not in the output, because they cannot be read: 2."),
        ("cvat-masks", ["images/train/a", "images/train/b", "images/train/e"],
         "Objects that are not in the output, because they have got no mask: 3."),
    ],
)  # fmt: skip
def test_a_conversion_says_what_it_lacks(
    to: str, images: list[str], sentence: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"

    _, lacking = made(*open_form(f"yolo:{_some_fail(tmp_path)}", out, to=to), failing=("cat",))

    assert lacking == sentence
    if to == "coco":
        content = json.loads(out.read_bytes())
        assert [each["file_name"] for each in content["images"]] == images
        assert [len(each["segmentation"]) > 0 for each in content["annotations"]] == [
            True, False, True, True, True
        ]  # fmt: skip
    else:
        assert read_back(out)["ImageSets/Segmentation/default.txt"].decode().split() == images


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"readme.txt": b"x"}, "has no images with texts"),
        ({**ULTRALYTICS, "data.yaml": b"nc: 2"}, "has no list `names`"),
        ({**ULTRALYTICS, "data.yaml": b"names: [a\n"}, "is not YAML"),
        ({**ULTRALYTICS, "data.yaml": b"names: [a]\nkpt_shape: [4, 3]"}, "is of keypoints"),
        ({**ULTRALYTICS, "labels/train/a.txt": b"\xff\xfe1"}, "is no text"),
    ],
)
def test_data_sets_that_are_something_else_are_told(
    files: dict[str, bytes], sentence: str, tmp_path: Path
) -> None:
    path = lay(tmp_path / "in", files, archive=False)

    with pytest.raises(DatasetError, match=sentence):
        open_form(f"yolo:{path}", tmp_path / "out")
