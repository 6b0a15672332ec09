"""A photo, a box, clicks: the mask appears, changes, and is the server's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Request, Route, expect

from benchmarks.inputs import RequestFiles
from tests.browser.asking import mask_of
from tests.browser.hosting import Host
from tests.browser.workbench import BOX, INSIDE, ON_HER, Workbench

BACKGROUND = (450, 60)


def test_box_and_click_show_the_mask_of_the_server(
    bench: Workbench, host: Host, examples: Path
) -> None:
    bench.open_example().box(BOX).click(*INSIDE)

    assert bench.painted(*ON_HER)[3] > 60
    assert bench.painted(*BACKGROUND)[3] == 0
    assert bench.clicks() == [f"Click 1, add, at {INSIDE[0]:g}, {INSIDE[1]:g}"]
    mask = bench.mask()
    assert np.array_equal(mask, mask_of(host.url, examples / "astronaut.jpg", BOX, [INSIDE]))
    assert bench.area() == np.count_nonzero(mask)
    facts = bench.page.locator("#facts")
    expect(facts).to_have_text(
        re.compile(r"Score 0\.\d\d, [\d,]+ pixels, \d+ ms \(server \d+ ms\)")
    )
    expect(bench.page.locator("#about")).to_have_text(re.compile(r"iog-lite, openvino, version \d"))


def test_a_click_moves_a_few_kilobytes_and_the_photo_is_sent_once(bench: Workbench) -> None:
    sizes: list[tuple[str, int]] = []
    bench.page.on("requestfinished", lambda ended: sizes.append(sent(ended)))
    bench.open_example().box().click(*INSIDE).click(100, 480, remove=True)

    assert [method for method, _ in sizes].count("PUT") == 1
    posted = [size for method, size in sizes if method == "POST"]
    assert posted
    assert max(posted) < 2_000
    assert {status for _, status in bench.answered} <= {200, 201}


def sent(request: Request) -> tuple[str, int]:
    """Method and bytes of the body."""
    return request.method, len(request.post_data_buffer or b"")


def test_corrections_change_the_mask_as_the_server_s(
    bench: Workbench, host: Host, examples: Path
) -> None:
    wrong, missing = (330.0, 480.0), (60.0, 480.0)
    bench.open_example().box().click(*INSIDE)
    before = bench.mask()

    bench.click(*wrong, remove=True).click(*missing)

    photo = examples / "astronaut.jpg"
    after = bench.mask()
    assert np.array_equal(after, mask_of(host.url, photo, BOX, [INSIDE, missing], [wrong]))
    assert not np.array_equal(before, after)
    assert [name.split(",")[1].strip() for name in bench.clicks()] == ["add", "remove", "add"]


def test_undo_redo_and_clear(bench: Workbench) -> None:
    bench.open_example().box().click(*INSIDE).click(330, 480, remove=True)
    corrected = bench.mask()
    two = bench.clicks()

    bench.button("Undo").click()
    assert bench.settled().clicks() == two[:1]
    first = bench.mask()
    bench.button("Redo").click()
    assert bench.settled().clicks() == two
    assert np.array_equal(bench.mask(), corrected)
    bench.page.keyboard.press("Control+z")
    assert np.array_equal(bench.settled().mask(), first)
    bench.page.keyboard.press("Control+Shift+z")
    assert bench.settled().clicks() == two
    bench.button("Clear clicks").click()
    assert bench.settled().clicks() == []
    bench.button("Undo").click()
    assert bench.settled().clicks() == two
    for _ in range(3):
        bench.button("Undo").click()
    expect(bench.button("Undo")).to_be_disabled()
    assert bench.settled().objects() == []


def test_a_click_is_dragged_and_deleted(bench: Workbench, host: Host, examples: Path) -> None:
    photo = examples / "astronaut.jpg"
    bench.open_example().box().click(*INSIDE).click(330, 480)

    bench.drag((330, 480), (300, 450))

    assert bench.clicks()[1] == "Click 2, add, at 300, 450"
    assert len(bench.objects()) == 1
    assert np.array_equal(bench.mask(), mask_of(host.url, photo, BOX, [INSIDE, (300, 450)]))
    bench.button("Delete click 2").click()
    assert len(bench.settled().clicks()) == 1
    assert np.array_equal(bench.mask(), mask_of(host.url, photo, BOX, [INSIDE]))


def test_the_box_has_handles(bench: Workbench, host: Host, examples: Path) -> None:
    bench.open_example().box((40, 40, 330, 500)).click(*INSIDE)

    bench.drag((40, 40), BOX[:2]).drag((330, 500), BOX[2:])

    assert len(bench.objects()) == 1
    expected = mask_of(host.url, examples / "astronaut.jpg", BOX, [INSIDE])
    assert np.array_equal(bench.mask(), expected)


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("slip", [(7, 3), (1, 9)])
def test_a_hand_that_slips_in_a_click_clicks(
    bench: Workbench, slip: tuple[int, int], *, remove: bool
) -> None:
    bench.open_example().box()
    x, y = bench.place(*INSIDE)
    button: Literal["left", "right"] = "right" if remove else "left"
    bench.page.mouse.move(x, y)
    bench.page.mouse.down(button=button)
    bench.page.mouse.move(x + slip[0], y + slip[1])
    bench.page.mouse.up(button=button)

    assert len(bench.settled().objects()) == 1
    assert bench.clicks() == [f"Click 1, {'remove' if remove else 'add'}, at 190, 320"]


def test_escape_gives_up_a_drag(bench: Workbench) -> None:
    bench.open_example().box((40, 40, 330, 500)).click(*INSIDE).click(250, 450)
    bench.drag((250, 450), (200, 420)).button("Undo").click()
    before, clicks = bench.settled().mask(), bench.clicks()
    assert len(clicks) == 2
    # A new box, a handle, a click: further moves do nothing either.
    for start in ((400.0, 40.0), (40.0, 40.0), (250.0, 450.0)):
        x, y = bench.place(*start)
        bench.page.mouse.move(x, y)
        bench.page.mouse.down()
        bench.page.mouse.move(x + 30, y + 40)
        bench.page.keyboard.press("Escape")
        bench.page.mouse.move(x + 60, y + 60)
        bench.page.mouse.up()

        assert len(bench.settled().objects()) == 1
        assert bench.clicks() == clicks
        assert np.array_equal(bench.mask(), before)
    # What was undone before can still be done again.
    bench.button("Redo").click()
    assert bench.settled().clicks()[1] == "Click 2, add, at 200, 420"


def test_the_threshold_is_live(bench: Workbench, host: Host, examples: Path) -> None:
    bench.open_example().box().click(*INSIDE)
    slider = bench.page.get_by_role("slider", name="Threshold")
    areas = []
    for value in ("0.05", "0.5", "0.95"):
        slider.fill(value)
        areas.append(bench.settled().area())

    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[2]
    expected = mask_of(host.url, examples / "astronaut.jpg", BOX, [INSIDE], threshold=0.95)
    assert np.array_equal(bench.mask(), expected)
    bench.button("Reset threshold").click()
    expected = mask_of(host.url, examples / "astronaut.jpg", BOX, [INSIDE])
    assert np.array_equal(bench.settled().mask(), expected)
    slider.fill("0.95")
    bench.settled().box((380, 300, 500, 450))
    expect(bench.button("Reset threshold")).to_be_hidden()
    assert "threshold" not in bench.asked[-1]


def test_the_threshold_starts_with_that_of_the_server(bench: Workbench) -> None:
    def other(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"threshold": 0.4})

    bench.page.route("**/health", other)
    bench.page.reload()
    bench.open_example().box()

    expect(bench.page.get_by_role("slider", name="Threshold")).to_have_value("0.4")
    assert "threshold" not in bench.asked[-1]


def test_hovering_shows_what_a_click_would_give(bench: Workbench) -> None:
    bench.open_example("coffee").box((130, 50, 480, 370))
    asked = len(bench.asked)

    with bench.page.expect_response(lambda got: got.request.method == "POST"):
        bench.page.mouse.move(*bench.place(300, 200))
    bench.settled()

    assert len(bench.asked) > asked
    assert bench.asked[-1]["pos_points"] == [[300, 200]]
    assert bench.painted(330, 220)[3] > 0
    assert bench.clicks() == []
    before = bench.area()
    bench.click(300, 200)
    assert len(bench.asked) == asked + 1
    assert bench.area() != before
    expect(bench.page.locator("#live")).to_contain_text(f"Object 1: {bench.area()} pixels")


def test_answers_that_come_too_late_are_dropped(bench: Workbench) -> None:
    bench.open_example().box().click(*INSIDE)
    held: list[Route] = []
    bench.page.route("**/", lambda route: held.append(route) if not held else route.continue_())

    bench.press(330, 480, remove=True)
    expect(bench.page.locator("html")).not_to_have_attribute("data-state", "ready")
    assert len(held) == 1
    bench.press(60, 480)
    bench.settled()
    newest = bench.mask()
    held[0].continue_()
    bench.page.wait_for_timeout(300)

    assert np.array_equal(bench.settled().mask(), newest)
    assert len(bench.clicks()) == 3
    bench.page.unroute_all()


def test_a_slow_network_loses_no_click(bench: Workbench, host: Host, examples: Path) -> None:
    bench.open_example()
    wire = bench.page.context.new_cdp_session(bench.page)
    wire.send("Network.enable")
    slow = {"offline": False, "latency": 400, "downloadThroughput": 4e4, "uploadThroughput": 4e4}
    wire.send("Network.emulateNetworkConditions", slow)

    bench.box()
    for point in (INSIDE, (60, 480), (250, 450)):
        bench.press(*point)
    bench.press(330, 480, remove=True)
    assert len(bench.clicks()) == 4  # shown at once, before any answer

    bench.settled()
    expected = mask_of(
        host.url,
        examples / "astronaut.jpg",
        BOX,
        [INSIDE, (60, 480), (250, 450)],
        [(330, 480)],
    )
    assert np.array_equal(bench.mask(), expected)


def test_zoom_and_pan_change_the_view_and_not_the_mask(
    bench: Workbench, host: Host, examples: Path
) -> None:
    bench.open_example()
    page, fitted = bench.page, bench.page.locator("#zoom").inner_text()
    page.mouse.move(*bench.place(190, 320))
    page.mouse.wheel(0, -400)
    expect(page.locator("#zoom")).not_to_have_text(fitted)
    before = bench.place(190, 320)
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(before[0] + 40, before[1] + 30)
    page.mouse.up()
    page.keyboard.up("Space")
    assert bench.place(190, 320) == pytest.approx((before[0] + 40, before[1] + 30), abs=1)
    page.mouse.down(button="middle")
    page.mouse.move(before[0], before[1])
    page.mouse.up(button="middle")
    assert bench.place(190, 320) == pytest.approx(before, abs=1)
    assert bench.objects() == []

    bench.box((100, 250, 260, 420)).click(*INSIDE)
    bench.button("Fit photo").click()
    expect(page.locator("#zoom")).to_have_text(fitted)

    photo = examples / "astronaut.jpg"
    box = bench.asked[-1]["obj_bbox"]
    flat = [float(x) for pair in box for x in (pair if isinstance(pair, list) else [pair])]
    assert flat == pytest.approx([100, 250, 260, 420], abs=1)
    (click,) = bench.asked[-1]["pos_points"]
    assert np.array_equal(bench.mask(), mask_of(host.url, photo, flat, [click]))


def test_a_photo_is_chosen_dropped_or_pasted(bench: Workbench, host: Host, examples: Path) -> None:
    page = bench.page
    bench.open_file(examples / "cat.jpg")
    expect(page.locator("#photo-name")).to_contain_text("cat.jpg")

    for event in ("drop", "paste"):
        page.evaluate(GIVEN, [event, "coffee.jpg" if event == "drop" else "astronaut.jpg"])
        expect(page.locator("#photo-name")).to_contain_text(
            "coffee.jpg" if event == "drop" else "astronaut.jpg"
        )
    bench.settled().box().click(*INSIDE)

    expected = mask_of(host.url, examples / "astronaut.jpg", BOX, [INSIDE])
    assert np.array_equal(bench.mask(), expected)


def test_of_several_photos_the_first_is_opened_and_the_rest_told(
    bench: Workbench, examples: Path
) -> None:
    bench.open_file(examples / "cat.jpg", examples / "coffee.jpg")

    expect(bench.page.locator("#photo-name")).to_contain_text("cat.jpg")
    expect(bench.page.locator("#hint")).to_have_text(
        "Opened cat.jpg. 1 other photo was not opened: open one at a time."
    )


GIVEN = """
async ([kind, name]) => {
  const photo = await (await fetch(`static/examples/${name}`)).blob();
  const data = new DataTransfer();
  data.items.add(new File([photo], name, { type: "image/jpeg" }));
  const options = { bubbles: true, cancelable: true };
  const event = kind === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: data })
    : new ClipboardEvent("paste", { ...options, clipboardData: data });
  document.querySelector("#stage").dispatchEvent(event);
}
"""


def test_twelve_megapixels(bench: Workbench, host: Host, tmp_path: Path) -> None:
    photo = tmp_path / "large.jpg"
    photo.write_bytes(RequestFiles(tmp_path).photo((4000, 3000)))
    box, click = (40, 24, 2890, 2990), (1484, 1875)

    bench.open_file(photo).box(box).click(*click)

    (asked,) = bench.asked[-1]["pos_points"]
    flat = [float(x) for pair in bench.asked[-1]["obj_bbox"] for x in pair]
    assert flat == pytest.approx(box, abs=6)
    assert asked == pytest.approx(click, abs=6)
    mask = bench.mask()
    assert mask.shape == (3000, 4000)
    assert np.array_equal(mask, mask_of(host.url, photo, flat, [asked]))
    assert bench.painted(1200, 2300)[3] > 60


def test_the_page_opens_nothing_that_is_no_photo(bench: Workbench) -> None:
    page = bench.page
    bench.offer("note.txt", "text/plain", b"no photo")

    expect(page.locator("#alert")).to_contain_text("note.txt")
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#alert")).to_be_hidden()
