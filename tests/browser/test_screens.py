"""Phones, touch, dark mode, and what axe-core finds in every state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.hosting import Host
from tests.browser.workbench import INSIDE, Workbench

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}}
_TOO_WIDE = """
() => {
  const wide = document.documentElement.clientWidth;
  const out = [...document.querySelectorAll("body *")].filter(each => {
    const box = each.getBoundingClientRect();
    return box.width && box.right > wide + 1 && getComputedStyle(each).visibility !== "hidden"
      && !each.closest("pre, .toolbar, svg.sprite");
  });
  const scroll = document.documentElement.scrollWidth - wide;
  return { scroll, out: out.map(each => each.id || each.outerHTML.slice(0, 80)) };
}
"""


@pytest.fixture
def phone(open_page: Callable[..., Page], host: Host) -> Workbench:
    return Workbench(open_page(host.url, **PHONE, device_scale_factor=2))


def test_a_phone_shows_everything_within_its_width(phone: Workbench) -> None:
    assert phone.page.evaluate(_TOO_WIDE) == {"scroll": 0, "out": []}
    phone.open_example()
    assert phone.page.evaluate(_TOO_WIDE) == {"scroll": 0, "out": []}
    phone.page.locator("#sheet").tap()
    assert phone.page.evaluate(_TOO_WIDE) == {"scroll": 0, "out": []}


def test_a_phone_segments_by_touch(phone: Workbench) -> None:
    page = phone.page
    page.get_by_role("button", name="Example: astronaut").tap()
    phone.opened()
    touch_drag(phone, (5, 4), (370, 510))
    page.touchscreen.tap(*phone.place(*INSIDE))
    assert len(phone.settled().clicks()) == 1
    page.locator("label", has=page.locator("#mode-remove")).tap()
    page.touchscreen.tap(*phone.place(330, 480))
    phone.settled()

    page.locator("#sheet").tap()
    expect(page.locator("#sheet")).to_have_attribute("aria-expanded", "true")
    assert [name.split(",")[1].strip() for name in phone.clicks()] == ["add", "remove"]
    assert phone.mask().any()
    for name in ("COCO JSON", "curl and Python", "Delete Object 1"):
        phone.button(name).scroll_into_view_if_needed()
        expect(phone.button(name)).to_be_in_viewport()


def test_a_phone_on_its_side_has_room_for_the_photo(
    open_page: Callable[..., Page], host: Host
) -> None:
    page = open_page(host.url, **PHONE | {"viewport": {"width": 740, "height": 360}})
    for name in ("astronaut", "cat", "coffee"):
        expect(page.get_by_role("button", name=f"Example: {name}")).to_be_in_viewport(ratio=1)
    bench = Workbench(page).open_example("cat")
    assert page.evaluate(_TOO_WIDE) == {"scroll": 0, "out": []}
    bench.box((60, 20, 380, 290))

    expect(page.get_by_label("Label")).to_be_in_viewport()
    (_, top), (_, bottom) = bench.place(0, 0), bench.place(451, 300)
    assert bottom - top > 200
    hint = page.locator("#hint").bounding_box()
    assert hint is not None
    assert hint["y"] > bottom


def test_a_message_is_seen_above_an_open_sheet(phone: Workbench) -> None:
    phone.open_example().box()
    phone.page.locator("#sheet").tap()
    phone.saved("COCO JSON")

    expect(phone.page.locator("#hint")).to_be_visible()
    expect(phone.page.locator("#hint")).to_have_text("astronaut.json has 1 object.")


def touch_drag(bench: Workbench, start: tuple[float, float], end: tuple[float, float]) -> None:
    """One finger down, along, up."""
    wire = bench.page.context.new_cdp_session(bench.page)

    def touch(kind: str, at: tuple[float, float] | None) -> None:
        points = [] if at is None else [dict(zip("xy", bench.place(*at), strict=True))]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", start)
    touch("touchMove", ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    touch("touchMove", end)
    touch("touchEnd", None)
    bench.settled()


def test_two_fingers_zoom_and_draw_nothing(phone: Workbench) -> None:
    phone.open_example()
    wire = phone.page.context.new_cdp_session(phone.page)
    fitted = phone.page.locator("#zoom").inner_text()
    middle = phone.place(256, 256)

    def touch(kind: str, apart: float | None) -> None:
        points = (
            []
            if apart is None
            else [
                {"x": middle[0] + side * apart, "y": middle[1], "id": number}
                for number, side in enumerate((-1, 1))
            ]
        )
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 30)
    for apart in (50, 70, 90):
        touch("touchMove", apart)
    touch("touchEnd", None)

    expect(phone.page.locator("#zoom")).not_to_have_text(fitted)
    assert phone.settled().objects() == []


def test_dark_and_light_follow_the_system(open_page: Callable[..., Page], host: Host) -> None:
    def brightness(scheme: str) -> float:
        page = open_page(host.url, color_scheme=scheme)
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(float(part) for part in colour.strip("rgba()").split(",")[:3]) / 3

    assert brightness("dark") < 80
    assert brightness("light") > 180


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or critical, with the elements."""
    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')}"
        for each in response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(
    open_page: Callable[..., Page], host: Host, scheme: str, device: dict[str, Any]
) -> None:
    bench = Workbench(open_page(host.url, color_scheme=scheme, **device))
    page = bench.page
    bench.settled()
    found = {"empty": serious(page)}
    bench.open_example("coffee")
    found["photo"] = serious(page)
    bench.box((130, 50, 480, 370)).click(300, 200).click(150, 350, remove=True)
    if page.locator("#sheet").is_visible():
        page.locator("#sheet").click()
    page.get_by_label("Label").fill("cup")
    page.locator("label", has=page.locator("#form-polygon")).click()
    found["objects"] = serious(page)
    bench.button("curl and Python").click()
    found["code"] = serious(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.evaluate("document.querySelector('#help').showModal()")
    found["help"] = serious(page)

    assert found == {state: [] for state in found}


def test_axe_finds_nothing_serious_in_an_error(bench: Workbench) -> None:
    bench.offer("note.txt", "text/plain", b"no photo")
    expect(bench.page.locator("#alert")).to_be_visible()

    assert serious(bench.page) == []
