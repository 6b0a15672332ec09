"""The contact sheets: what is in the folder, and the page in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from iog.bulk.records import BoxedImage, BoxedObject, Failure, MaskRow, Outcome
from iog.bulk.review import write_review
from iog.errors import SettingsError
from iog.masks import Mask
from tests.builders import encoded, pattern

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEIGHT, WIDTH = 60, 90
Outcomes = dict[int, Outcome]


class Finished(Outcomes):
    """Outcomes in memory, read as a journal is."""

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:  # type: ignore[override]
        return iter(sorted(self.items()))


class Boxes:
    """A source: ``images`` images with two boxes each."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._file = encoded(pattern(HEIGHT, WIDTH), ".png")

    def describe(self) -> dict[str, str]:
        return {}

    def count(self) -> int:
        return 2 * self._images

    def images(self) -> Iterator[BoxedImage]:
        for number in range(self._images):
            objects = tuple(
                BoxedObject(
                    2 * number + i, (5.0 + 40 * i, 10.0, 35.0 + 40 * i, 50.0), f"box {i}", label
                )
                for i, label in enumerate(("cat", "<b>dog</b>"))
            )
            image = b"no image" if number == 1 else self._file
            yield BoxedImage(number, f"{number}.png", image, objects)


def outcomes(images: int) -> Finished:
    """Scores that fall from 0.99; the first box failed."""
    found = Finished()
    for number in range(2 * images):
        pixels = np.zeros((HEIGHT, WIDTH), bool)
        left = 8 + 40 * (number % 2)
        pixels[15:45, left : left + 20] = True
        row = MaskRow.of(Mask.from_array(pixels))
        found[number] = MaskRow(row.size, row.counts, row.box, row.area, 0.99 - number / 1000)
    found[0] = Failure("The model found no object in the box.")
    return found


def data_of(folder: Path) -> dict[str, Any]:
    text = (folder / "objects.js").read_text()
    data: dict[str, Any] = json.loads(text.removeprefix("const REVIEW = ").removesuffix(";\n"))
    return data


def test_the_worst_come_first_with_their_pictures(tmp_path: Path) -> None:
    page = write_review(tmp_path / "review", Boxes(4), outcomes(4))

    assert page == tmp_path / "review" / "index.html"
    data = data_of(page.parent)
    assert (data["made"], data["failed"]) == (7, 1)
    assert [each["number"] for each in data["objects"]] == [0, 7, 6, 5, 4, 3, 2, 1]
    worst = data["objects"][1]
    assert (worst["score"], worst["area"], worst["box"]) == (0.983, 600, [45, 10, 75, 50])
    assert worst["path"] == "M48,15 48,45 68,45 68,15Z"
    # The window around the box, at its own size.
    crop = cv2.imread(str(page.parent / worst["crop"]))
    assert crop is not None
    left, top, right, bottom = worst["window"]
    assert crop.shape[:2] == (bottom - top, right - left) == (52, 42)
    # Where the mask is, the picture is tinted blue; beside it, it is what it was.
    inside, outside = crop[30 - top, 58 - left].astype(int), crop[0, 0].astype(int)
    there = pattern(HEIGHT, WIDTH)  # OpenCV wrote it, and has read the crop: blue first
    assert inside[0] - int(there[30, 58, 0]) > 30
    assert abs(outside - there[top, left]).max() < 30
    image = cv2.imread(str(page.parent / data["images"][worst["image"]]["file"]))
    assert image is not None
    assert image.shape == (HEIGHT, WIDTH, 3)


def test_an_image_that_cannot_be_read_has_no_picture(tmp_path: Path) -> None:
    write_review(tmp_path, Boxes(2), outcomes(2))

    data = data_of(tmp_path)
    lost = [each for each in data["objects"] if data["images"][each["image"]]["name"] == "1.png"]
    assert [("crop" in each, "score" in each) for each in lost] == [(False, True)] * 2


def test_only_the_worst_are_shown(tmp_path: Path) -> None:
    write_review(tmp_path, Boxes(30), outcomes(30), most=5)

    data = data_of(tmp_path)
    assert [each["number"] for each in data["objects"]] == [0, 59, 58, 57, 56]
    assert [each["name"] for each in data["images"]] == ["0.png", "28.png", "29.png"]
    assert len(list((tmp_path / "crops").iterdir())) == 5


def test_an_earlier_review_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    write_review(tmp_path / "review", Boxes(3), outcomes(3))
    write_review(tmp_path / "review", Boxes(1), outcomes(1))
    assert len(list((tmp_path / "review" / "crops").iterdir())) == 2

    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds other files"):
        write_review(tmp_path, Boxes(1), outcomes(1))
    with pytest.raises(SettingsError, match="is a file"):
        write_review(tmp_path / "notes.txt", Boxes(1), outcomes(1))


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_review(tmp_path_factory.mktemp("review"), Boxes(150), outcomes(150))


@pytest.fixture
def page(review: Path) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda told: problems.append(told.text) if told.type == "error" else None
        )
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.goto(review.as_uri())
        yield page
        browser.close()
    assert not problems


def test_the_page_filters_by_label_and_score(page: Page) -> None:
    tiles = page.locator(".tile")
    assert page.locator("#count").inner_text() == "300 objects, lowest score first"
    assert tiles.count() == 120
    assert tiles.nth(0).inner_text().split() == ["no", "mask", "cat"]
    assert tiles.nth(1).inner_text() == "0.691 <b>dog</b>"
    page.get_by_role("button", name="Next page").click()
    page.get_by_role("button", name="Next page").click()
    assert tiles.count() == 60
    assert page.locator("#page").inner_text() == "Page 3 of 3"

    page.get_by_label("Label").select_option("=cat")
    page.get_by_label("without a mask").uncheck()
    page.get_by_label("to", exact=True).fill("0.75")
    # Cats are the even numbers: 240 (0.75) to 298 (0.692).
    assert page.locator("#count").inner_text() == "30 objects, lowest score first"
    page.get_by_label("Score from").fill("0.9")
    assert tiles.count() == 0
    assert page.get_by_text("No object has such a label and score.").is_visible()


def test_a_tile_opens_its_image_at_the_object(page: Page) -> None:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert "149.png · box 1 · <b>dog</b> · score 0.6910, 600 pixels" in dialog.inner_text()
    view = page.locator("#picture")
    x, y, width, height = map(float, (view.get_attribute("viewBox") or "").split())
    assert (x + width / 2, y + height / 2) == pytest.approx((60, 30))
    assert width < WIDTH
    assert page.locator("#photo").get_attribute("href") == "images/149.jpg"

    page.keyboard.press("w")
    assert view.get_attribute("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    page.keyboard.press("m")
    assert page.locator("#mask").is_hidden()
    page.keyboard.press("ArrowRight")
    assert "149.png · box 0 · cat" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert page.locator(".tile").nth(2).evaluate("each => each === document.activeElement")


def test_the_page_fits_a_phone_and_the_dark(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.locator(".tile").nth(1).click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    close = page.get_by_role("button", name="Close")
    assert close.is_visible()
    # Pictures far below are not loaded before somebody scrolls to them.
    close.click()
    assert not page.locator(".tile img").last.evaluate("each => each.complete && each.naturalWidth")
