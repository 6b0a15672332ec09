"""CVAT's "Segmentation mask 1.1", and VOC's boxes, which are written as it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataloaders.cvat_masks import open_cvat_masks, voc_colour
from dataloaders.geometry import turned_box
from iog.errors import DatasetError
from iog.forms import Options, open_form
from tests.forms.made import ellipse, lay, make, picture, read_back

VOC = """<annotation><folder>x</folder><filename>a.png</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
</object>
<object><name>cat</name>
<bndbox><xmin>40</xmin><ymin>10</ymin><xmax>60</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""
FILES = {
    "Annotations/a.xml": VOC.encode(),
    "JPEGImages/a.png": picture(),
}


def _pixels(data: bytes) -> NDArray[np.int32]:
    rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int32)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


@pytest.mark.parametrize("archive", [False, True])
def test_vocs_boxes_become_an_export_that_the_data_set_reader_takes(
    archive: bool, tmp_path: Path
) -> None:
    path = lay(tmp_path / "in", FILES, archive=archive)

    seen = make(*open_form(f"voc:{path}", tmp_path / "out"))

    assert {name: (each.label, each.box) for name, each in seen.items()} == {
        "a.png: object 1": ("dog", (4, 5, 30, 40)),
        "a.png: object 2": ("cat", (39, 9, 60, 30)),
    }
    (tmp_path / "out" / "JPEGImages").mkdir()
    (tmp_path / "out" / "JPEGImages" / "a.png").write_bytes(FILES["JPEGImages/a.png"])
    read = open_cvat_masks(tmp_path / "out", split="default")
    samples = {read[index].category: read[index] for index in range(len(read))}
    for each in seen.values():
        np.testing.assert_array_equal(
            samples[each.label].mask, ellipse(each.box, (48, 64)).mask().array
        )


def test_fractions_and_zeros_say_that_edges_are_counted_from_0(tmp_path: Path) -> None:
    xml = VOC.replace("<xmin>5<", "<xmin>5.5<")
    path = lay(tmp_path / "in", {**FILES, "Annotations/a.xml": xml.encode()}, archive=False)

    seen = make(*open_form(f"voc:{path}", tmp_path / "out"))

    assert [each.box for each in seen.values()] == [(5.5, 6, 30, 40), (40, 10, 60, 30)]


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ('<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>', "has a DOCTYPE"),
        ("<annotations/>", "it begins with <annotations>"),
        ("<annotation>", "is not XML"),
    ],
)
def test_xml_that_is_something_else_is_told(xml: str, sentence: str, tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"Annotations/a.xml": xml.encode()}, archive=False)

    with pytest.raises(DatasetError, match=sentence):
        open_form(f"voc:{path}", tmp_path / "out")


def test_a_box_without_numbers_is_listed(tmp_path: Path) -> None:
    xml = VOC.replace("<xmin>5</xmin>", "")
    path = lay(tmp_path / "in", {**FILES, "Annotations/a.xml": xml.encode()}, archive=False)

    seen = make(*open_form(f"voc:{path}", tmp_path / "out"))

    assert seen["a.png: object 1"].problem == "Its bndbox is not four numbers."
    assert seen["a.png: object 2"].problem == ""


def _export(tmp_path: Path, *, archive: bool) -> Path:
    """An export as CVAT writes it: a label with a colour of its own, and a void pixel."""
    objects, labels = (np.zeros((48, 64, 3), np.uint8) for _ in range(2))
    for number, (rows, columns, colour) in enumerate(
        [((5, 20), (5, 25), (12, 34, 56)), ((20, 40), (30, 50), (200, 0, 10))], 1
    ):
        index = voc_colour(number)
        place = (slice(*rows), slice(*columns))
        objects[place] = (index >> 16, index >> 8 & 255, index & 255)
        labels[place] = colour
    objects[0, 0] = labels[0, 0] = (224, 224, 192)
    files = {
        "labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\n"
        b"dog:12,34,56::\nperson:200,0,10::\n",
        "ImageSets/Segmentation/train.txt": b"sub/a\n",
        "JPEGImages/sub/a.png": picture(),
    }
    for kind, painted in (("Object", objects), ("Class", labels)):
        file = io.BytesIO()
        Image.fromarray(painted).save(file, "PNG")
        files[f"Segmentation{kind}/sub/a.png"] = file.getvalue()
    return lay(tmp_path / "in", files, archive=archive)  # fmt: skip


@pytest.mark.parametrize("archive", [False, True])
def test_redo_paints_masks_anew_in_the_exports_own_colours(archive: bool, tmp_path: Path) -> None:
    path = _export(tmp_path, archive=archive)

    options = Options(redo=True)
    seen = make(
        *open_form(f"cvat-masks:{path}", tmp_path / "out.zip", options=options),
        failing=("person",),
    )

    assert {each.label: each.box for each in seen.values()} == {
        "dog": (5, 5, 25, 20), "person": (30, 20, 50, 40),
    }  # fmt: skip
    before, after = read_back(path), read_back(tmp_path / "out.zip")
    for name in ("labelmap.txt", "ImageSets/Segmentation/train.txt"):
        assert after[name] == before[name]
    for kind, colour in (("Object", voc_colour(1)), ("Class", 0x0C2238)):
        old, new = (_pixels(files[f"Segmentation{kind}/sub/a.png"]) for files in (before, after))
        expected = ellipse((5, 5, 25, 20), (48, 64)).mask().array
        np.testing.assert_array_equal(new == colour, expected)
        others = old != colour
        np.testing.assert_array_equal(new[others & ~expected], old[others & ~expected])


def test_without_redo_there_is_nothing_to_make(tmp_path: Path) -> None:
    form, _ = open_form(f"cvat-masks:{_export(tmp_path, archive=True)}", tmp_path / "out")

    assert (form.count(), form.kept, list(form.images())) == (0, 2, [])


def test_more_objects_than_colours_are_told(tmp_path: Path) -> None:
    one = (
        "<object><name>d</name><bndbox><xmin>2</xmin><ymin>2</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    )
    xml = VOC[: VOC.index("<object>")] + one * 255 + "</annotation>"
    path = lay(tmp_path / "in", {**FILES, "Annotations/a.xml": xml.encode()}, archive=False)

    with pytest.raises(DatasetError, match=r"a\.png has 255 objects; this form tells 254 apart"):
        make(*open_form(f"voc:{path}", tmp_path / "out"))

    assert list(tmp_path.glob("out*")) == []


def test_a_turned_box_has_an_upright_one_around_it() -> None:
    assert turned_box((20, 10, 40, 20), 90) == pytest.approx((25, 5, 35, 25))
    assert turned_box((0, 0, 10, 10), 45) == pytest.approx((-2.07, -2.07, 12.07, 12.07), abs=0.01)
    assert turned_box((1, 2, 3, 4), 0) == (1, 2, 3, 4)
