"""The page in a real browser, with a real `iog serve` and the bundled weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.page import MISSING, chromium, find_chromium
from tests.browser.hosting import Host
from tests.browser.workbench import SECONDS, Workbench
from tests.conftest import ROOT

PICTURES = ROOT / "build" / "browser"
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def host(plain_environment: dict[str, str]) -> Iterator[Host]:
    running = Host(plain_environment)
    yield running
    running.stop()


# Of a module, not of the session: asyncio takes Playwright's loop for running as long as it is
# open, and the next file on this process may want one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=SECONDS * 1000)
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Open a server's page in a window of its own.

    However a test uses it, the page asks nobody but its server, breaks no rule of its
    Content-Security-Policy, and has no error that nobody catches.
    """
    windows: list[tuple[BrowserContext, Page]] = []
    wrong: list[str] = []

    def open_one(url: str, **options: Any) -> Page:  # noqa: ANN401
        window = browser.new_context(base_url=url, accept_downloads=True, **options)
        window.set_default_timeout(SECONDS * 1000)
        page = window.new_page()
        windows.append((window, page))
        origin = urlsplit(url).netloc
        page.on("pageerror", lambda error: wrong.append(f"{error}\n{error.stack}"))
        page.on("console", lambda said: wrong.extend(_violations(said.text)))
        window.on("request", lambda asked: wrong.extend(_strangers(asked.url, origin)))
        page.goto("/")
        return page

    yield open_one
    for window, page in windows:
        if request.node.stash.get(FAILED, False):
            PICTURES.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", request.node.name)
            page.screenshot(path=PICTURES / f"{name}.png")
        window.close()
    assert not wrong


def _violations(text: str) -> list[str]:
    return [text] if "Content Security Policy" in text or "Content-Security-Policy" in text else []


def _strangers(url: str, origin: str) -> list[str]:
    parts = urlsplit(url)
    return [url] if parts.scheme.startswith("http") and parts.netloc != origin else []


@pytest.fixture
def bench(open_page: Callable[..., Page], host: Host) -> Workbench:
    """The page as it is opened on a desk."""
    return Workbench(open_page(host.url, viewport={"width": 1280, "height": 800}))


@pytest.fixture(scope="session")
def examples() -> Path:
    return ROOT / "examples"
