"""Without a mouse: everything from the keyboard, and told to a screen reader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from tests.browser.asking import decoded, mask_of
from tests.browser.hosting import Host
from tests.browser.workbench import INSIDE, Workbench

_FOCUSED = """
() => {
  const at = document.activeElement;
  return at.getAttribute("aria-label") || at.labels?.[0]?.innerText || at.innerText || at.id;
}
"""


def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """Press Tab until something of this name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if re.search(name, page.evaluate(_FOCUSED)):
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_the_whole_way_by_keyboard(bench: Workbench, host: Host, examples: Path) -> None:
    page = bench.page
    keys = page.keyboard
    tab_to(page, "Example: astronaut")
    keys.press("Enter")
    bench.opened()
    tab_to(page, "^Photo")

    # A cursor that arrows move, and Enter: first two corners, then a click.
    _to(page, -150, -250)
    keys.press("Enter")
    _to(page, 230, 480)
    keys.press("Enter")
    expect(page.locator("#objects li")).to_have_count(1)
    _to(page, -80, -190)
    keys.press("Enter")
    bench.settled()
    assert len(bench.clicks()) == 1
    _to(page, 70, 180)
    keys.press("Shift+Enter")
    bench.settled()
    assert [name.split(",")[1].strip() for name in bench.clicks()] == ["add", "remove"]
    keys.press("Control+z")
    assert len(bench.settled().clicks()) == 1
    keys.press("Control+Shift+z")
    assert len(bench.settled().clicks()) == 2

    asked = bench.asked[-1]
    tab_to(page, "^Label")
    keys.type("astronaut")
    keys.press("Enter")
    expect(page.locator("#objects")).to_contain_text("astronaut")
    tab_to(page, "^COCO JSON")
    with page.expect_download() as download:
        keys.press("Enter")
    written = json.loads(Path(download.value.path()).read_text())
    (annotation,) = written["annotations"]
    assert written["categories"][0]["name"] == "astronaut"
    box = [x for pair in asked["obj_bbox"] for x in pair]
    prompt = box, asked["pos_points"], asked["neg_points"]
    expected = mask_of(host.url, examples / "astronaut.jpg", *prompt)
    assert expected.any()
    assert np.array_equal(decoded(annotation["segmentation"]), expected)


def _to(page: Page, right: int, down: int) -> None:
    """Move the cursor by about so many pixels of the window, with large steps and small ones."""
    for key, way in (
        ("ArrowRight" if right > 0 else "ArrowLeft", abs(right)),
        ("ArrowDown" if down > 0 else "ArrowUp", abs(down)),
    ):
        for _ in range(way // 10):
            page.keyboard.press(f"Shift+{key}")


def test_shortcuts_are_shown_and_work(bench: Workbench) -> None:
    page = bench.page
    bench.open_example().box().click(190, 320)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    page.keyboard.press("x")
    expect(page.locator("#mode-remove")).to_be_checked()
    page.keyboard.press("x")
    expect(page.locator("#mode-add")).to_be_checked()
    page.keyboard.press("h")
    expect(bench.button("Show Object 1")).to_be_visible()
    page.keyboard.press("h")
    page.keyboard.press("c")
    assert bench.settled().clicks() == []
    page.keyboard.press("n")
    expect(page.locator("#objects [aria-current=true]")).to_have_count(0)
    page.keyboard.press("[")
    expect(page.locator("#objects [aria-current=true]")).to_have_count(1)
    page.keyboard.press("+")
    zoomed = page.locator("#zoom").inner_text()
    page.keyboard.press("0")
    expect(page.locator("#zoom")).not_to_have_text(zoomed)


def test_signs_on_a_third_level_are_shortcuts(bench: Workbench) -> None:
    bench.open_example("coffee").box((250, 100, 450, 350)).box((20, 180, 160, 390))
    chosen = bench.page.locator("#objects [aria-current=true] .name")
    press = """([key, modifiers]) => document.querySelector("#stage").dispatchEvent(
      new KeyboardEvent("keydown", { key, ...modifiers, bubbles: true, cancelable: true }))"""
    levels = [
        {"ctrlKey": True, "altKey": True},
        {"altKey": True},
        {"modifierAltGraph": True},
    ]
    for level in levels:
        bench.page.evaluate(press, ["[", level])
        expect(chosen).to_have_text("Object 1")
        bench.page.evaluate(press, ["]", level])
        expect(chosen).to_have_text("Object 2")
        bench.page.evaluate(press, ["n", level])
        expect(chosen).to_have_text("Object 2")


def test_what_is_said_is_shown_too(bench: Workbench) -> None:
    page, hint = bench.page, bench.page.locator("#hint")
    bench.open_example().click(*INSIDE)
    expect(hint).to_have_text("Draw a box around an object first.")
    bench.drag((100, 100), (300, 101))
    expect(hint).to_have_text("The box is too small.")
    expect(hint).to_have_text("Drag a box around an object")
    bench.box()
    page.keyboard.press("Delete")
    expect(hint).to_have_text("There is no click to delete.")
    expect(page.locator("#live")).to_have_text("There is no click to delete.")

    bench.button("curl and Python").click()
    bench.button("Copy curl").click()
    expect(page.locator("#code-note")).to_have_text(re.compile("Copied|Selected"))


def test_letters_in_the_label_are_no_shortcuts(bench: Workbench) -> None:
    bench.open_example().box().click(190, 320)
    label = bench.page.get_by_label("Label")
    label.click()
    bench.page.keyboard.type("chn?x")

    expect(label).to_have_value("chn?x")
    assert len(bench.clicks()) == 1
    expect(bench.page.get_by_role("dialog")).to_have_count(0)


def test_a_click_is_moved_and_deleted_by_keyboard(bench: Workbench) -> None:
    bench.open_example().box().click(190, 320).click(330, 480)
    page = bench.page
    before = bench.clicks()
    tab_to(page, "^Click 1")
    page.keyboard.press("Enter")
    tab_to(page, "^Photo")
    page.keyboard.press("m")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Enter")
    moved = bench.settled().clicks()
    assert moved[0] != before[0]
    assert moved[1] == before[1]
    bench.button("Undo").click()
    assert bench.settled().clicks() == before

    tab_to(page, "^Delete click 1")
    page.keyboard.press("Enter")
    assert [name[9:] for name in bench.settled().clicks()] == [before[1][9:]]


def test_a_screen_reader_hears_what_happens(bench: Workbench) -> None:
    heard = bench.page.locator("#live[role=status]")
    bench.open_example()
    expect(heard).to_contain_text("astronaut")
    bench.box().click(190, 320)
    expect(heard).to_contain_text(re.compile("click|mask|score|object", re.IGNORECASE))


def test_a_dialog_keeps_the_focus_and_gives_it_back(bench: Workbench) -> None:
    page = bench.page
    bench.button("Keyboard shortcuts").click()
    for _ in range(5):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('dialog, body') !== null")
        assert page.evaluate("document.activeElement.closest('main, aside, header') === null")
    page.keyboard.press("Escape")
    assert page.evaluate(_FOCUSED) == "Keyboard shortcuts"
