"""What goes wrong, is said and is survived: nothing that was clicked is lost."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.asking import Mask, mask_of
from tests.browser.hosting import Host
from tests.browser.workbench import BOX, INSIDE, Workbench

CORRECTION = (330.0, 480.0)
QUEUE = 16  # requests that may wait for one worker


@pytest.fixture(scope="module")
def own_host(plain_environment: dict[str, str]) -> Iterator[Host]:
    """A server that nobody else has, for photos of at most a megapixel."""
    running = Host({**plain_environment, "IOG_MAX_PIXELS": "1000000"})
    yield running
    running.stop()


@pytest.fixture
def bench(open_page: Callable[..., Page], own_host: Host) -> Workbench:
    return Workbench(open_page(own_host.url, viewport={"width": 1280, "height": 800}))


@pytest.fixture
def expected(own_host: Host, examples: Path) -> Callable[[], Mask]:
    """The mask of the box, the click and the correction, asked for when it is called."""
    photo = examples / "astronaut.jpg"
    return lambda: mask_of(own_host.url, photo, BOX, [INSIDE], [CORRECTION])


def state(bench: Workbench, name: str) -> None:
    expect(bench.page.locator("html")).to_have_attribute("data-state", name)


def test_a_refusal_shows_the_server_s_words_and_loses_nothing(bench: Workbench) -> None:
    bench.open_example().box().click(*INSIDE)
    before = bench.mask()
    error = {
        "code": "box_outside_image",
        "message": "The box lies outside the image.",
        "field": "obj_bbox",
        "hint": "Send a box inside the image.",
    }
    bench.page.route(
        "**/",
        lambda route: route.fulfill(
            status=422, content_type="application/json", body=json.dumps({"error": error})
        ),
    )

    bench.press(*CORRECTION, remove=True)

    expect(bench.page.get_by_role("alert")).to_contain_text(error["message"])
    expect(bench.page.get_by_role("alert")).to_contain_text(error["hint"])
    state(bench, "error")
    assert len(bench.clicks()) == 2
    bench.page.unroute_all()
    bench.button("Try again").click()
    assert not np.array_equal(bench.settled().mask(), before)
    expect(bench.page.locator("#alert")).to_be_hidden()


def test_a_photo_that_the_server_cannot_take_is_refused_in_its_words(
    bench: Workbench, own_host: Host
) -> None:
    large = io.BytesIO()
    Image.new("RGB", (1200, 1000)).save(large, "PNG")
    body = {"image": base64.b64encode(large.getvalue()).decode(), "obj_bbox": BOX}
    words = httpx.post(own_host.url, json=body, timeout=120, trust_env=False)
    assert words.status_code == 413

    bench.offer("large.png", "image/png", large.getvalue())

    expect(bench.page.get_by_role("alert")).to_contain_text(words.json()["error"]["message"])


def test_a_worker_that_died_between_two_clicks_gets_the_photo_again(
    bench: Workbench, own_host: Host, expected: Callable[[], Mask]
) -> None:
    bench.open_example().box().click(*INSIDE)
    own_host.replace_worker()
    seen = len(bench.answered)

    bench.click(*CORRECTION, remove=True)

    statuses = bench.answered[seen:]
    assert ("POST", 409) in statuses
    assert any(method == "PUT" and status < 300 for method, status in statuses)
    expect(bench.page.locator("#alert")).to_be_hidden()
    assert np.array_equal(bench.mask(), expected())


def test_a_worker_that_dies_in_a_request_costs_no_click(
    bench: Workbench, own_host: Host, expected: Callable[[], Mask]
) -> None:
    bench.open_example().box().click(*INSIDE)
    with own_host.worker_held():
        bench.press(*CORRECTION, remove=True)
        state(bench, "waiting")
        own_host.kill_worker()

    assert np.array_equal(bench.settled().mask(), expected())
    assert 503 in [status for _, status in bench.answered]
    assert len(bench.clicks()) == 2


def test_a_server_that_stops_is_lost_and_found_again(
    bench: Workbench, own_host: Host, expected: Callable[[], Mask]
) -> None:
    bench.open_example().box().click(*INSIDE)
    own_host.stop()
    bench.press(*CORRECTION, remove=True)
    state(bench, "lost")
    assert len(bench.clicks()) == 2
    own_host.start()

    assert np.array_equal(bench.settled().mask(), expected())
    assert len(bench.clicks()) == 2


@pytest.mark.long
def test_a_page_that_waits_for_its_server_says_so(bench: Workbench, own_host: Host) -> None:
    own_host.stop()
    state(bench, "lost")
    own_host.start()
    bench.settled()


def test_a_busy_server_is_asked_again(
    bench: Workbench, own_host: Host, expected: Callable[[], Mask]
) -> None:
    bench.open_example().box().click(*INSIDE)
    # One request is with the worker, the others wait, and the next one finds no place.
    with ThreadPoolExecutor(QUEUE + 1) as others, own_host.worker_held():
        for _ in range(QUEUE + 1):
            others.submit(httpx.post, own_host.url, json={}, timeout=120, trust_env=False)
        own_host.wait_for_requests(QUEUE + 1)
        bench.press(*CORRECTION, remove=True)
        state(bench, "busy")
        assert len(bench.clicks()) == 2

    assert np.array_equal(bench.settled().mask(), expected())
    assert 503 in [status for _, status in bench.answered]
    expect(bench.page.locator("#alert")).to_be_hidden()


def test_a_model_that_still_loads_is_waited_for(
    open_page: Callable[..., Page], own_host: Host
) -> None:
    own_host.kill_worker()
    bench = Workbench(open_page(own_host.url))
    bench.settled()
