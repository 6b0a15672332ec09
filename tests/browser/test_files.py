"""What may be taken along: masks, cut-outs, COCO, lines for curl and Python; and brought back."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from pycocotools import mask as coco
from pycocotools.coco import COCO

import iog
from tests.browser.asking import Mask, decoded, encoded, mask_of, overlap
from tests.browser.hosting import Host
from tests.browser.workbench import INSIDE, Workbench
from tests.conftest import ROOT

CUP, IN_CUP = (130, 50, 480, 370), (300, 200)
PLATE, IN_PLATE = (20, 180, 160, 390), (100, 300)


@pytest.fixture
def two(bench: Workbench) -> Workbench:
    bench.open_example("coffee").box(CUP).click(*IN_CUP)
    bench.page.get_by_label("Label").fill("cup")
    bench.page.get_by_label("Label").press("Enter")
    bench.button("New object").click()
    return bench.box(PLATE).click(*IN_PLATE)


def read(written: dict[str, Any], folder: Path) -> COCO:
    """The file as pycocotools reads it."""
    path = folder / "annotations.json"
    path.write_text(json.dumps(written))
    return COCO(path)


def test_a_mask_and_a_cut_out(bench: Workbench, examples: Path) -> None:
    bench.open_example().box().click(*INSIDE)
    mask = bench.mask()

    name, content = bench.saved("Cut-out PNG")

    assert name.endswith(".png")
    assert "astronaut" in name
    cut = Image.open(io.BytesIO(content))
    assert cut.mode == "RGBA"
    photo = np.array(Image.open(examples / "astronaut.jpg").convert("RGB"), int)
    pixels = np.array(cut, int)
    whole = np.zeros((*mask.shape, 4), int)
    if pixels.shape == whole.shape:
        whole = pixels
    else:  # the tight box of the mask
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = pixels
    assert np.array_equal(whole[..., 3], mask * 255)
    # Decoders of JPEG differ in the last bits.
    assert np.abs(whole[..., :3] - photo)[mask].max() <= 8


@pytest.mark.parametrize("form", ["RLE", "Polygons"])
def test_several_objects_in_one_coco_file(
    two: Workbench, host: Host, examples: Path, tmp_path: Path, form: str
) -> None:
    photo = examples / "coffee.jpg"
    truth = [mask_of(host.url, photo, CUP, [IN_CUP]), mask_of(host.url, photo, PLATE, [IN_PLATE])]

    data = read(two.coco(form), tmp_path)

    (image,) = data.loadImgs(data.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("coffee.jpg", 600, 400)
    annotations = data.loadAnns(data.getAnnIds())
    assert len(annotations) == len({each["id"] for each in annotations}) == 2
    names = [data.loadCats(each["category_id"])[0]["name"] for each in annotations]
    assert names == ["cup", "object"]
    for annotation, mask in zip(annotations, truth, strict=True):
        written = data.annToMask(annotation).astype(bool)
        if form == "RLE":
            assert np.array_equal(written, mask)
            assert annotation["area"] == np.count_nonzero(mask)
        else:
            filled = iog.Mask.from_array(mask).cleaned(fill_holes=mask.size).array
            assert overlap(written, filled) > 0.95
        x, y, width, height = annotation["bbox"]
        columns, rows = np.nonzero(mask.any(0))[0], np.nonzero(mask.any(1))[0]
        tight = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert (x, y, x + width, y + height) == pytest.approx(tight, abs=2)
        assert annotation["image_id"] == image["id"]


def test_the_tolerance_takes_corners_away(two: Workbench) -> None:
    def corners() -> int:
        return sum(
            len(ring)
            for each in two.coco("Polygons")["annotations"]
            for ring in each["segmentation"]
        )

    two.page.get_by_role("radio", name="Polygons").check(force=True)
    slider = two.page.get_by_role("slider", name="Tolerance")
    slider.fill("0")
    exact = corners()
    slider.fill("4")
    assert corners() < exact / 5


@pytest.mark.parametrize("form", ["RLE", "Polygons"])
def test_a_coco_file_is_opened_again(
    two: Workbench, examples: Path, tmp_path: Path, form: str
) -> None:
    before = two.coco(form)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(before))

    two.page.reload()
    two.open_file(examples / "coffee.jpg").open_file(path)

    assert [name.split(",")[0] for name in two.objects()] == ["cup", "Object 2"]
    again = two.coco("RLE")
    masks = [decoded(each["segmentation"]) for each in again["annotations"]]
    truth = [read(before, tmp_path).annToMask(each).astype(bool) for each in before["annotations"]]
    for mask, expected in zip(masks, truth, strict=True):
        assert overlap(mask, expected) > (0.999 if form == "RLE" else 0.95)


def warns(page: Page) -> bool:
    """Whether the browser asks before it closes the page."""
    asks: bool = page.evaluate(
        "() => !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    )
    return asks


@pytest.mark.parametrize("button", ["COCO JSON", "Mask PNG"])
def test_a_file_waits_for_the_mask_under_way(
    bench: Workbench, host: Host, examples: Path, button: str
) -> None:
    bench.open_example("coffee").box(CUP).click(*IN_CUP)
    held: list[Route] = []
    bench.page.route("**/", lambda route: held.append(route))
    bench.press(150, 350, remove=True)
    with bench.page.expect_download() as download:
        bench.button(button).click()
        expect(bench.page.locator("#hint")).to_contain_text("under way")
        held[0].continue_()

    content = Path(download.value.path()).read_bytes()
    expected = mask_of(host.url, examples / "coffee.jpg", CUP, [IN_CUP], [(150, 350)])
    if button == "COCO JSON":
        (annotation,) = json.loads(content)["annotations"]
        assert np.array_equal(decoded(annotation["segmentation"]), expected)
    else:
        assert np.array_equal(np.array(Image.open(io.BytesIO(content))) > 0, expected)


def test_objects_without_a_current_mask_are_told_and_stay_unsaved(bench: Workbench) -> None:
    bench.open_example("coffee").box(CUP).click(*IN_CUP)
    assert len(bench.coco()["annotations"]) == 1
    assert not warns(bench.page)
    bench.page.route("**/", lambda route: route.fulfill(status=422, json={"error": {}}))
    bench.press(150, 350, remove=True)
    expect(bench.page.locator("#alert")).to_be_visible()
    bench.button("Mask PNG").click()
    expect(bench.page.locator("#hint")).to_have_text(
        "This object has no mask yet. Nothing was saved."
    )
    bench.button("Undo").click()
    bench.button("New object").click()
    bench.page.mouse.move(*bench.place(*PLATE[:2]))
    bench.page.mouse.down()
    bench.page.mouse.move(*bench.place(*PLATE[2:]))
    bench.page.mouse.up()
    expect(bench.page.locator("#alert")).to_be_visible()

    written = bench.coco()

    assert len(written["annotations"]) == 1
    expect(bench.page.locator("#hint")).to_have_text(
        "1 of 2 objects has no mask yet and is not in the file."
    )
    assert warns(bench.page)


def test_work_on_every_photo_is_warned_of_and_its_labels_are_offered(bench: Workbench) -> None:
    bench.open_example("coffee").box(CUP)
    bench.page.get_by_label("Label").fill("cup")
    bench.open_example_again("cat.jpg").box((60, 20, 380, 290))
    offered = bench.page.locator("#labels option").evaluate_all("all => all.map(o => o.value)")
    assert offered == ["cup"]
    bench.page.get_by_label("Label").fill("cat")
    first = bench.coco()
    assert warns(bench.page)

    bench.open_example_again("coffee.jpg")
    bench.page.get_by_label("Label").fill("cat")
    assert bench.coco()["categories"] == first["categories"]
    assert not warns(bench.page)


def a_set(tmp_path: Path) -> Path:
    """A COCO file of two images: a polygon with attributes, a box alone, and what is neither."""
    square = [140, 60, 460, 60, 460, 360, 140, 360]
    common = {"image_id": 7, "iscrowd": 0, "attributes": {"occluded": True}}
    written = {
        "info": {"description": "kitchen"},
        "licenses": [{"id": 1, "name": "CC0"}],
        "images": [
            {"id": 7, "file_name": "set/coffee.jpg", "width": 600, "height": 400, "license": 1},
            {"id": 8, "file_name": "other.jpg", "width": 30, "height": 20},
        ],
        "categories": [
            {"id": 30, "name": "cup", "supercategory": "kitchen"},
            {"id": 40, "name": "plate", "supercategory": "kitchen"},
        ],
        "annotations": [
            {"id": 90, "category_id": 30, "segmentation": [square], "area": 1, **common},
            {"id": 91, "category_id": 40, "bbox": [20, 180, 140, 210], **common},
            {"id": 92, "category_id": 40, "keypoints": [], **common},
            {"id": 500, "image_id": 8, "category_id": 40, "bbox": [1, 1, 9, 9]},
        ],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(written))
    return path


def test_an_export_keeps_what_the_file_said_of_its_photo(
    bench: Workbench, host: Host, examples: Path, tmp_path: Path
) -> None:
    path = a_set(tmp_path)
    given = json.loads(path.read_text())
    bench.open_file(examples / "coffee.jpg").open_file(path)
    expect(bench.page.locator("#hint")).to_have_text(
        "2 objects from set.json. 1 box without a mask: the model makes it. "
        "1 annotation with neither mask nor box left out."
    )
    assert [name.split(",")[0] for name in bench.objects()] == ["cup", "plate"]
    bench.button("New object").click()
    bench.box((200, 80, 300, 180))
    bench.page.get_by_label("Label").fill("spoon")

    written = bench.coco()

    expect(bench.page.locator("#hint")).to_contain_text("for this photo only, one of 2")
    for key in ("info", "licenses"):
        assert written[key] == given[key]
    assert written["images"] == given["images"][:1]
    assert written["categories"] == [*given["categories"], {"id": 41, "name": "spoon"}]
    rows = written["annotations"]
    assert [row["id"] for row in rows] == [90, 91, 501]
    assert [row["category_id"] for row in rows] == [30, 40, 41]
    assert {row["image_id"] for row in rows} == {7}
    assert [row.get("attributes") for row in rows] == [{"occluded": True}] * 2 + [None]
    box = mask_of(host.url, examples / "coffee.jpg", (20, 180, 160, 390))
    assert np.array_equal(decoded(rows[1]["segmentation"]), box)


@pytest.mark.parametrize("form", ["RLE", "Polygons"])
def test_objects_that_are_there_already_are_not_opened_again(
    two: Workbench, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "again.json"
    path.write_text(json.dumps(two.coco(form)))

    two.open_file(path)

    assert len(two.objects()) == 2
    expect(two.page.locator("#hint")).to_contain_text("2 objects were here already")
    two.button("Delete cup").click()
    two.open_file(path)
    assert [name.split(",")[0] for name in two.objects()] == ["Object 2", "cup"]


def half_a_cup(tmp_path: Path, examples: Path, host: Host) -> tuple[Path, Mask]:
    """A COCO file with one mask: the left half of a cup, which no box would give."""
    half = mask_of(host.url, examples / "coffee.jpg", CUP, [IN_CUP])
    half[:, 300:] = False
    rle = encoded(half)
    x, y, width, height = (int(side) for side in coco.toBbox(rle))
    written = {
        "images": [{"id": 7, "file_name": "coffee.jpg", "width": 600, "height": 400}],
        "categories": [{"id": 3, "name": "half"}],
        "annotations": [
            {
                "id": 9,
                "image_id": 7,
                "category_id": 3,
                "segmentation": rle,
                "area": int(half.sum()),
                "bbox": [x, y, width, height],
                "iscrowd": 0,
            }
        ],
    }
    path = tmp_path / "half.json"
    path.write_text(json.dumps(written))
    return path, half


def test_a_mask_from_a_file_is_corrected_by_clicks(
    bench: Workbench, host: Host, examples: Path, tmp_path: Path
) -> None:
    path, half = half_a_cup(tmp_path, examples, host)
    bench.open_file(examples / "coffee.jpg").open_file(path)
    assert np.array_equal(bench.mask(), half)

    bench.click(230, 330, remove=True)

    asked = bench.asked[-1]
    assert decoded(asked["mask_input"]).sum() == half.sum()
    corrected = bench.mask()
    box = [side for pair in asked["obj_bbox"] for side in pair]
    start = {"mask_input": asked["mask_input"]}
    photo = examples / "coffee.jpg"
    expected = mask_of(host.url, photo, box, remove=asked["neg_points"], **start)
    assert np.array_equal(corrected, expected)
    assert not np.array_equal(corrected, half)
    bench.button("Undo").click()
    assert np.array_equal(bench.settled().mask(), half)


@pytest.mark.parametrize("clicked", [True, False])
@pytest.mark.parametrize("kind", ["curl", "python"])
def test_the_lines_start_from_a_mask_of_a_file_too(
    bench: Workbench,
    host: Host,
    examples: Path,
    tmp_path: Path,
    kind: str,
    clicked: bool,
    plain_environment: dict[str, str],
) -> None:
    path, _ = half_a_cup(tmp_path, examples, host)
    bench.open_file(examples / "coffee.jpg").open_file(path)
    if clicked:
        bench.click(230, 330, remove=True)
    mask = bench.mask()
    curl, python = bench.code()
    (tmp_path / "coffee.jpg").write_bytes((examples / "coffee.jpg").read_bytes())

    ran = (
        run_curl(curl, tmp_path)
        if kind == "curl"
        else run_python(python, tmp_path, plain_environment)
    )

    assert np.count_nonzero(ran != mask) <= 3  # the last bits of a probability depend on threads


def run_curl(line: str, folder: Path) -> Mask:
    """The mask that a shell gets with it."""
    command = ["bash", "-c", line]
    ran = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
    (found,) = json.loads(ran[ran.index(b'{"objects"') :])["objects"]
    return decoded(found["rle"])


def run_python(lines: str, folder: Path, environment: dict[str, str]) -> Mask:
    """The mask that Python gets with them."""
    show = "\nimport json\nprint(json.dumps(mask.rle()))\n"
    ran = subprocess.run(
        [sys.executable, "-c", lines + show],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return decoded(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("kind", ["curl", "python"])
def test_the_lines_give_the_mask_on_screen(
    bench: Workbench, examples: Path, tmp_path: Path, kind: str, plain_environment: dict[str, str]
) -> None:
    bench.open_file(examples / "astronaut.jpg").box().click(*INSIDE).click(330, 480, remove=True)
    mask = bench.mask()
    curl, python = bench.code()
    (tmp_path / "astronaut.jpg").write_bytes((examples / "astronaut.jpg").read_bytes())

    ran = (
        run_curl(curl, tmp_path)
        if kind == "curl"
        else run_python(python, tmp_path, plain_environment)
    )

    assert np.array_equal(ran, mask)
