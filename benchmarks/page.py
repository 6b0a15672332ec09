"""From a click to the mask on the screen, measured in Chromium on the page of `iog serve`.

    python -m benchmarks.page [--rounds 20] [--size 1920x1080 --size 4000x3000] [--report FOLDER]

Each round draws a box of its own and clicks in it, once with and once without the hover preview,
then clicks three times more. The page itself notes when an event came, when the answer was there
and when the frame with the mask was painted. Chromium has no window and no graphics card here: the
processor, which also runs the network, paints.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.inputs import RequestFiles, SizeWH
from benchmarks.processes import Served
from benchmarks.report import cpu, described, slug
from iog.settings import available_cores
from iog.tables import Table

__all__ = [
    "MISSING",
    "TWO_FRAMES",
    "chromium",
    "find_chromium",
    "main",
    "measure",
    "place",
    "table",
]

MISSING = "Chromium is not installed; `make browser` installs it."
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing is updated, and nothing is fetched.
_SWITCHES = (
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# How image pixels lie in the window, in CSS pixels: the photo was drawn so.
_VIEW = """
() => {
  const photo = document.getElementById("photo");
  const frame = photo.getBoundingClientRect();
  const { a, e, f } = photo.getContext("2d").getTransform();
  const ratio = photo.width / frame.width;
  return [a / ratio, frame.left + e / ratio, frame.top + f / ratio];
}
"""
_NEXT = """
name => new Promise((done, fail) => {
  const late = setTimeout(() => fail(new Error(`The page measured no ${name}.`)), 20000);
  const observer = new PerformanceObserver(list => {
    const found = list.getEntriesByName(name)[0];
    if (!found) return;
    clearTimeout(late);
    observer.disconnect();
    performance.clearMeasures();
    done({ total: found.duration, ...found.detail });
  });
  observer.observe({ type: "measure", buffered: true });
})
"""
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""After this, what was to be drawn is on the screen."""
_KINDS: Final = {
    "box": "box without a click",
    "first": "first click",
    "previewed": "first click where its preview is shown",
    "next": "next click",
}
_PARTS: Final = ("total", "server", "network", "page", "work")
Times = dict[str, dict[str, list[float]]]
"""Milliseconds by the kind of click and their part."""


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome; None without one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window, until the block ends.

    asyncio thinks meanwhile that a loop runs in this thread.

    Raises:
        FileNotFoundError: there is none.
    """
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_SWITCHES)
        try:
            yield browser
        finally:
            browser.close()


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the photo lies in the window, in CSS pixels."""
    scale, left, top = page.evaluate(_VIEW)
    return left + x * scale, top + y * scale


def measure(page: Page, photo: Path, size: SizeWH, *, rounds: int) -> Times:
    """Use the page as an annotator does, and collect what it measures.

    Args:
        page: shows the page of a server.
        photo: a file.
        size: its width and height.
        rounds: boxes of each kind, after one that is not counted.
    """
    page.locator("#file").set_input_files(photo)
    page.locator("#empty").wait_for(state="hidden")
    page.wait_for_selector("html[data-state=ready]")
    chance = random.Random(0)
    found: Times = {kind: defaultdict(list) for kind in _KINDS}
    for number in range(rounds + 1):
        for previewed in (False, True):
            for kind, entry in _round(page, size, chance, previewed=previewed):
                if number:
                    for part in _PARTS:
                        found[kind][part].append(entry[part])
    return found


def _round(
    page: Page, size: SizeWH, chance: random.Random, *, previewed: bool
) -> Iterator[tuple[str, dict[str, float]]]:
    """One box with its clicks; each with what the page measured."""
    width, height = size
    x, y = chance.uniform(0.05, 0.3) * width, chance.uniform(0.05, 0.2) * height
    right, bottom = x + chance.uniform(0.35, 0.6) * width, y + chance.uniform(0.5, 0.75) * height
    start, end = place(page, x, y), place(page, right, bottom)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    yield "box", _entry(page, "iog:box")
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    if previewed:
        with page.expect_response(lambda answer: answer.request.method == "POST") as got:
            page.mouse.move(*middle)
        got.value.finished()
        page.evaluate(TWO_FRAMES)
        _click(page, middle)
        yield "previewed", _entry(page, "iog:first-click")
    else:
        _click(page, middle)
        yield "first", _entry(page, "iog:first-click")
    across, down = (end[0] - start[0]) / 3, (end[1] - start[1]) / 3
    for button in ("left", "right", "left"):
        at = (
            middle[0] + chance.uniform(-across, across),
            middle[1] + chance.uniform(-down, down),
        )
        _click(page, at, button=button)
        yield "next", _entry(page, "iog:next-click")
    page.locator("#objects .delete").click()
    page.evaluate("performance.clearMeasures()")


def _click(page: Page, at: tuple[float, float], *, button: str = "left") -> None:
    """A click out of the blue: the pointer did not hover there."""
    wire = page.context.new_cdp_session(page)
    where = {"x": at[0], "y": at[1], "button": button, "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        wire.send("Input.dispatchMouseEvent", {"type": kind, **where})
    wire.detach()


def _entry(page: Page, name: str) -> dict[str, Any]:
    """What the page measured next under a name.

    ``network`` is from the request to the whole answer, ``page`` the rest of ``total``; ``work``
    is the page's reading and drawing of an answer.
    """
    entry: dict[str, Any] = page.evaluate(_NEXT, name)
    if entry["cached"] or entry["server"] is None:
        entry["server"] = 0.0
    return {**entry, "page": entry["total"] - entry["network"]}


def table(found: Mapping[SizeWH, Times]) -> Table:
    """Medians and 95th percentiles in milliseconds."""
    lines = []
    for (width, height), times in found.items():
        for kind, parts in times.items():
            cells = [
                f"{np.median(parts[part]):.0f} ({np.quantile(parts[part], 0.95):.0f})"
                for part in _PARTS
            ]
            lines.append((f"{width} x {height}", _KINDS[kind], *cells, str(len(parts["total"]))))
    head = (
        "photo",
        "what",
        "to the painted mask",
        "server",
        "request to answer",
        "page",
        "its work",
        "times",
    )
    return Table("Milliseconds, median (95th percentile)", head, tuple(lines), names=2)


def _size(text: str) -> SizeWH:
    width, height = text.split("x")
    return int(width), int(height)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write a report; see --help."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", type=_size, action="append", help="such as 1920x1080")
    parser.add_argument("--report", type=Path, help="folder for a page and its JSON")
    options = parser.parse_args(arguments)
    about = described(cores=available_cores())
    found: dict[SizeWH, Times] = {}
    with (
        TemporaryDirectory() as folder,
        closing(Served(workers=1, environment={})) as served,
        chromium() as browser,
    ):
        about["browser"] = f"Chromium {browser.version}, headless, painted by the processor"
        host, port = served.address
        for width, height in options.size or [(1920, 1080), (4000, 3000)]:
            photo = Path(folder) / f"{width}x{height}.jpg"
            photo.write_bytes(RequestFiles(Path(folder)).photo((width, height)))
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"http://{host}:{port}/")
            found[width, height] = measure(page, photo, (width, height), rounds=options.rounds)
            page.close()
    for name, value in about.items():
        print(f"{name}: {value}")
    table(found).show()
    if options.report is not None:
        print(f"Wrote {_write(options.report, about, found)}")


def _write(folder: Path, about: Mapping[str, str], found: Mapping[SizeWH, Times]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    stem = folder / f"{today}-{slug(cpu())}-page"
    figures = {f"{width}x{height}": times for (width, height), times in found.items()}
    stem.with_suffix(".json").write_text(json.dumps({"machine": about, **figures}) + "\n")
    parts = [
        f"# The page in a browser, {today}",
        _READING.strip(),
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        table(found).markdown(),
    ]
    path = stem.with_suffix(".md")
    path.write_text("\n\n".join(parts) + "\n")
    return path


_READING = """
Milliseconds, median (95th percentile), from the event of the click to the frame with the mask.
*Server* is the time of the function and its host, *request to answer* has the way there and back
too. *Page* is the rest: everything before the request and after the answer, with the wait for the
screen's next frame, up to 16.7 ms. *Its work* is what the page does with an answer: reading the
run lengths, finding the outline, drawing. A *first click* needs its crop encoded; where the hover
preview already shows its mask, there is nothing left to ask. The processor paints, with the
network's cores, as Chromium has no graphics card here.
"""


if __name__ == "__main__":
    main()
