"""`iog masks --data` as it is typed, with a network and worker processes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from iog.cli import app
from tests.forms.made import lay, picture, read_back
from tests.forms.test_cvat_xml import IMAGES, PHOTOS


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return lay(tmp_path / "export", {"annotations.xml": IMAGES, **PHOTOS}, archive=True)


def _masks(*options: str) -> Result:
    return CliRunner().invoke(app, ["masks", *options, "--workers", "1"])


def test_an_archive_of_cvat_is_read_and_written(export: Path, tmp_path: Path) -> None:
    # Box 0 starts at the fourth pixel; what is in it is noise, so masks may be empty.
    result = _masks("--data", f"cvat:{export}", "--out", "out.zip")

    assert result.exit_code in (0, 3), result.output
    assert "2 objects want a mask, 2 are kept." in result.output
    root = ElementTree.fromstring(read_back(tmp_path / "out.zip")["annotations.xml"])
    assert len(root.findall("image")) == 2
    made = 2 - result.output.count("found no object")
    assert len(root.findall("image/mask[@source='semi-auto']")) == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.zip", "out.zip"]


def test_a_broken_image_is_listed_and_costs_nothing_else(tmp_path: Path) -> None:
    xml = IMAGES.replace(
        b"  </image>\n</annotations>",
        b'<box label="person" xtl="1" ytl="2" xbr="60" ybr="40"/></image>\n</annotations>',
    )
    path = lay(tmp_path / "in", {"annotations.xml": xml, "images/b.png": picture()}, archive=True)

    result = _masks("--data", f"cvat:{path}", "--out", str(tmp_path / "out.json"), "--to", "coco")

    assert result.exit_code == 3
    assert f"street/a.png, box number 0: {path} has no images/street/a.png." in result.output
    assert "not in the output" not in result.output
    written = json.loads((tmp_path / "out.json").read_bytes())
    assert [image["file_name"] for image in written["images"]] == ["street/a.png", "b.png"]
    assert len(written["annotations"]) == 5

    result = _masks("--data", f"cvat:{path}", "--out", str(tmp_path / "out"), "--to", "yolo")

    assert "Label files that are not in the output, because a box" in result.output


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (("--data", "cvat:export.zip"), 2, "give --coco, --images and --out, or --data and --out"),
        (("--to", "coco", "--coco", "export.zip", "--images", ".", "--out", "x"), 2,
         "it belongs to --data"),
        (("--data", "cvat:export.zip", "--images", ".", "--out", "x"), 2,
         "write --data FORM:PATH,IMAGES"),
        (("--data", "labelme:export.zip", "--out", "x"), 1, "names no data set; give one of"),
        (("--data", "yolo:export.zip", "--out", "x"), 1, "has no images with texts"),
        (("--data", "cvat:export.zip", "--out", "x.zip", "--to", "coco"), 1,
         "COCO is one file: give a name that ends in .json"),
        (("--data", "coco:boxes.json", "--out", "x.zip"), 1, "COCO is one file"),
        (("--data", "cvat:export.zip", "--out", "x", "--points-field", "c"), 1,
         "--points-field is for --coco and for --data coco:FILE.json"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_told(
    options: tuple[str, ...], status: int, sentence: str, export: Path
) -> None:
    result = _masks(*options)

    assert result.exit_code == status
    assert sentence in " ".join(result.output.replace("│", " ").split())
