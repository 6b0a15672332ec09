"""CVAT's own XML: boxes become masks, and every other byte stays."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cvat_sdk.masks import decode_mask

from iog.errors import DatasetError
from iog.forms import Options, open_form
from tests.forms.made import ellipse, lay, make, picture, read_back, two_parts

IMAGES = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <job><id>7</id><mode>annotation</mode>
      <labels>
        <label><name>car &amp; van</name><color>#ff0000</color><type>any</type>
          <attributes><attribute><name>colour</name></attribute></attributes></label>
        <label><name>person</name></label>
      </labels>
    </job>
    <dumped>2026-11-25 04:00:00.000000+00:00</dumped>
  </meta>
  <image id="0" name="street/a.png" width="64" height="48">
    <box label="car &amp; van" source="manual" occluded="1" xtl="4.00" ytl="5.25" xbr="30.50" ybr="30.00" z_order="2" group_id="3" newer="&quot;kept&quot;">
      <attribute name="colour">d\xc3\xbcnkel &lt;1&gt;</attribute>
    </box>
    <polygon label="person" source="manual" occluded="0" points="1.00,1.00;9.00,1.00;9.00,9.00" z_order="0">
    </polygon>
    <mask label="person" source="manual" occluded="0" rle="0, 6" left="40" top="40" width="3" height="2" z_order="0"/>
    <skeleton label="s" source="manual" z_order="0">
      <box label="inner" source="manual" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
    </skeleton>
    <box label="person" source="auto" occluded="0" xtl="20.00" ytl="10.00" xbr="40.00" ybr="20.00" rotation="90.00" z_order="0"/>
    <tag label="person" source="manual"></tag>
    <future what="kept"><box/></future>
  </image>
  <image id="1" name="b.png" width="64" height="48">
  </image>
</annotations>
"""  # noqa: E501
VIDEO = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><original_size><width>64</width><height>48</height></original_size></task></meta>
  <track id="0" label="car" source="manual" group_id="4">
    <box frame="0" keyframe="1" outside="0" occluded="0" xtl="4.00" ytl="5.00" xbr="30.00" ybr="30.00" z_order="1">
      <attribute name="colour">red</attribute>
    </box>
    <box frame="1" keyframe="0" outside="0" occluded="0" xtl="5.00" ytl="5.00" xbr="31.00" ybr="30.00" z_order="1"></box>
    <box frame="5" keyframe="1" outside="0" occluded="1" xtl="8.00" ytl="5.00" xbr="34.00" ybr="30.00" z_order="1"></box>
    <box frame="6" keyframe="1" outside="1" occluded="0" xtl="8.00" ytl="5.00" xbr="34.00" ybr="30.00" z_order="1"></box>
  </track>
  <track id="1" label="person" source="manual">
    <polygon frame="5" keyframe="1" outside="0" occluded="0" points="1,1;9,1;9,9" z_order="0"></polygon>
  </track>
  <track id="2" label="person" source="manual">
    <box frame="5" keyframe="1" outside="0" occluded="0" xtl="40.00" ytl="5.00" xbr="60.00" ybr="30.00" z_order="0"></box>
  </track>
</annotations>
"""  # noqa: E501
PHOTOS = {"images/street/a.png": picture(), "images/b.png": picture()}
FRAMES = {f"images/frame_{frame:06d}.PNG": picture() for frame in (0, 1, 5, 6)}


def _mask(element: ElementTree.Element) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    left, top, width, height = (
        int(element.attrib[name]) for name in ("left", "top", "width", "height")
    )
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    points = [*runs, left, top, left + width - 1, top + height - 1]
    return decode_mask(points, image_width=64, image_height=48)  # type: ignore[no-any-return]


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("out", ["out", "out.zip", "out.xml"])
def test_boxes_become_masks_and_every_other_byte_stays(
    out: str, archive: bool, tmp_path: Path
) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": IMAGES, **PHOTOS}, archive=archive)

    form, sink = open_form(f"cvat:{path}", tmp_path / out)
    seen = make(form, sink)

    assert {name: each.box for name, each in seen.items()} == {
        "street/a.png: box number 0": (4.0, 5.25, 30.5, 30.0),
        "street/a.png: box number 3": pytest.approx((25, 5, 35, 25)),
    }
    assert form.kept == 2
    written = (
        (tmp_path / out).read_bytes()
        if out.endswith("xml")
        else read_back(tmp_path / out)["annotations.xml"]
    )
    new = rb'<mask label="(car|person)[^>]*source="semi-auto"[^>]*>'
    assert len(re.findall(new, written)) == 2
    # All but the opening and closing tags of the two boxes is as it was.
    boxes = rb'<box label="(?:car|person)[^>]*>|(?<=</attribute>\n    )</box>'
    masks = new + rb"|(?<=</attribute>\n    )</mask>"
    assert re.sub(masks, b"#", written) == re.sub(boxes, b"#", IMAGES)
    first, second, third = ElementTree.fromstring(written).iterfind("image/mask")
    assert first.attrib["label"] == "car & van"
    kept = ("occluded", "z_order", "group_id", "newer")
    assert [first.attrib[name] for name in kept] == ["1", "2", "3", '"kept"']
    assert [each.text for each in first] == ["dünkel <1>"]
    assert "xtl" not in first.attrib
    assert "rotation" not in third.attrib
    np.testing.assert_array_equal(
        _mask(first), ellipse((4.0, 5.25, 30.5, 30.0), (48, 64)).mask().array
    )
    assert second.attrib["rle"] == "0, 6"


def test_a_box_that_failed_stays_as_it_was(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": IMAGES, **PHOTOS}, archive=False)

    make(*open_form(f"cvat:{path}", tmp_path / "out.xml"), failing=("person", "car & van"))

    assert (tmp_path / "out.xml").read_bytes() == IMAGES


def test_outlines_of_an_object_in_parts_share_a_group(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": IMAGES, **PHOTOS}, archive=False)

    options = Options(form="polygon", tolerance=0)
    make(*open_form(f"cvat:{path}", tmp_path / "out.xml", options=options), shape=two_parts)

    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    groups = [each.attrib.get("group_id") for each in root.iterfind("image/polygon")]
    assert groups == ["3", "3", None, "7", "7"]
    assert len(root.findall("image/polygon/attribute[@name='colour']")) == 2


def test_redo_takes_masks_and_polygons_by_the_boxes_around_them(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": IMAGES, **PHOTOS}, archive=False)

    form, sink = open_form(f"cvat:{path}", tmp_path / "out.xml", options=Options(redo=True))
    seen = make(form, sink)

    assert [each.box for each in seen.values()][1:3] == [(1, 1, 9, 9), (40, 40, 43, 42)]
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [each.tag for each in root.find("image") or ()] == [
        "mask", "mask", "mask", "skeleton", "mask", "tag", "future",
    ]  # fmt: skip


def test_keyframes_of_a_video_become_tracks_of_one_frame(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": VIDEO, **FRAMES}, archive=True)

    seen = make(*open_form(f"cvat:{path}", tmp_path / "out.zip"))

    assert {name: each.label for name, each in seen.items()} == {
        "frame_000000: box number 0": "car",
        "frame_000005: box number 2": "car",
        "frame_000005: box number 5": "person",
    }
    root = ElementTree.fromstring(read_back(tmp_path / "out.zip")["annotations.xml"])
    tracks = root.findall("track")
    assert [[shape.tag for shape in track] for track in tracks] == [
        ["mask"], ["mask"], ["polygon"], ["mask"],
    ]  # fmt: skip
    assert len({track.attrib["id"] for track in tracks}) == 4
    first = tracks[0]
    assert (first.attrib["label"], first.attrib["group_id"]) == ("car", "4")
    fields = first[0].attrib
    assert (fields["frame"], fields["keyframe"], fields["outside"]) == ("0", "1", "0")
    assert first[0][0].text == "red"


def test_a_track_with_a_keyframe_that_failed_stays_beside_the_new_masks(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", {"annotations.xml": VIDEO, **FRAMES}, archive=True)

    make(*open_form(f"cvat:{path}", tmp_path / "out.xml"), failing=("car",))

    written = (tmp_path / "out.xml").read_bytes()
    assert VIDEO[: VIDEO.index(b'  <track id="2"')] in written
    assert written.count(b"<mask") == 1


def test_subsets_of_a_project_have_folders_of_their_own(tmp_path: Path) -> None:
    xml = IMAGES.replace(b'name="b.png"', b'name="b.png" subset="train" task_id="9"').replace(
        b"  </image>\n</annotations>",
        b'<box label="person" xtl="1" ytl="2" xbr="30" ybr="40"/></image>\n</annotations>',
    )
    files = {"annotations.xml": xml, **PHOTOS, "images/train/b.png": PHOTOS["images/b.png"]}
    del files["images/b.png"]

    seen = make(*open_form(f"cvat:{lay(tmp_path / 'in', files, archive=True)}", tmp_path / "o.xml"))

    assert "b.png: box number 4" in seen


def test_images_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "boxes.xml").write_bytes(IMAGES)
    photos = lay(tmp_path / "photos", {"street/a.png": picture()}, archive=True)

    make(*open_form(f"cvat:{tmp_path / 'boxes.xml'},{photos}", tmp_path / "out.xml"))

    assert b"semi-auto" in (tmp_path / "out.xml").read_bytes()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no xml", "is not XML"),
        (b"<html></html>", "it begins with <html>"),
        (IMAGES[:900], "is not XML"),
        (b'<!DOCTYPE a [<!ENTITY b "bb">]><annotations>&b;</annotations>', "has a DOCTYPE"),
        (IMAGES.replace(b"utf-8", b"utf-16"), "utf-16"),
    ],
)
def test_files_that_are_something_else_are_told(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_bytes(content)

    with pytest.raises(DatasetError, match=sentence):
        open_form(f"cvat:{tmp_path / 'a.xml'}", tmp_path / "out.xml")


def test_a_box_without_numbers_is_listed_and_costs_nothing_else(tmp_path: Path) -> None:
    xml = IMAGES.replace(b'xtl="4.00"', b'xtl="four"')
    path = lay(tmp_path / "in", {"annotations.xml": xml, **PHOTOS}, archive=False)

    seen = make(*open_form(f"cvat:{path}", tmp_path / "out.xml"))

    assert seen["street/a.png: box number 0"].problem == "Its place is not in numbers."
    assert (tmp_path / "out.xml").read_bytes().count(b"semi-auto") == 1


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Blocks are given out as the file is read, not at its end."""
    block = IMAGES[IMAGES.index(b"  <image id=") : IMAGES.index(b"</annotations>")]
    head = IMAGES[: IMAGES.index(b"  <image id=")]
    (tmp_path / "big.xml").write_bytes(head + block * 3000 + b"</annotations>")
    form, _ = open_form(f"cvat:{tmp_path / 'big.xml'}", tmp_path / "out.xml")
    (tmp_path / "big.xml").write_bytes(head + block * 3000 + b"<broken")

    first = next(form.images())

    assert first.name == "street/a.png"
    assert form.count() == 6000
