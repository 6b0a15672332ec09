"""The page as its user sees it: photo, box, clicks, objects, files to take along."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, Request, expect

from benchmarks.page import TWO_FRAMES, place
from tests.conftest import ROOT

__all__ = ["BOX", "INSIDE", "ON_HER", "SECONDS", "Workbench"]

Box = tuple[float, float, float, float]
BOX: Box = (5, 4, 370, 510)
"""Around the astronaut of the example."""
INSIDE = (190.0, 320.0)
"""A click on her."""
ON_HER = (150.0, 400.0)
"""A point of her with no click on it."""
SECONDS = 30.0
"""Until something that a test waits for has failed: a busy machine may take long."""

# Red, green, blue and opacity of the overlay at a place in the window.
_PAINTED = """
(overlay, [x, y]) => {
  const frame = overlay.getBoundingClientRect();
  const across = (x - frame.left) * overlay.width / frame.width;
  const down = (y - frame.top) * overlay.height / frame.height;
  return [...overlay.getContext("2d").getImageData(across, down, 1, 1).data];
}
"""


class Workbench:
    """What a user does on the page; every step ends when the page has settled.

    Points and boxes are in the image frame.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[dict[str, Any]] = []
        """Bodies of the requests for masks, in order."""
        self.answered: list[tuple[str, int]] = []
        """Methods and statuses of the answers, in order."""
        self._under_way: list[Request] = []
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)
        page.on("response", lambda got: self.answered.append((got.request.method, got.status)))

    def _begin(self, request: Request) -> None:
        if request.method in ("POST", "PUT"):
            self._under_way.append(request)
        if request.method == "POST":
            self.asked.append(json.loads(request.post_data or "null"))

    def _end(self, request: Request) -> None:
        if request in self._under_way:
            self._under_way.remove(request)

    # ---- the photo

    def open_example(self, name: str = "astronaut") -> Workbench:
        self.page.get_by_role("button", name=f"Example: {name}").click()
        return self.opened()

    def open_file(self, *files: Path) -> Workbench:
        self.page.locator("#file").set_input_files(files)
        return self.opened()

    def open_example_again(self, name: str) -> Workbench:
        """Open an example's file after another photo."""
        return self.open_file(ROOT / "examples" / name)

    def offer(self, name: str, kind: str, content: bytes) -> None:
        """Choose a file, and wait for nothing."""
        file = FilePayload(name=name, mimeType=kind, buffer=content)
        self.page.locator("#file").set_input_files(file)

    def opened(self) -> Workbench:
        expect(self.page.locator("#empty")).to_be_hidden()
        return self.settled()

    def settled(self) -> Workbench:
        """Wait until nothing is under way and everything is drawn."""
        html, end, calm = self.page.locator("html"), time.monotonic() + SECONDS, 0
        while calm < 2:
            self.page.evaluate(TWO_FRAMES)
            state = html.get_attribute("data-state")
            calm = 0 if self._under_way or state != "ready" else calm + 1
            assert time.monotonic() < end, f"after {SECONDS} s {state}, {self._under_way}"
        return self

    @property
    def stage(self) -> Locator:
        return self.page.locator("#stage")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the photo lies in the window."""
        return place(self.page, x, y)

    # ---- prompts

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> Workbench:
        mouse = self.page.mouse
        mouse.move(*self.place(*start))
        mouse.down()
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        mouse.move(*self.place(*middle))
        mouse.move(*self.place(*end))
        mouse.up()
        return self.settled()

    def box(self, box: Box = BOX) -> Workbench:
        return self.drag(box[:2], box[2:])

    def click(self, x: float, y: float, *, remove: bool = False) -> Workbench:
        self.press(x, y, remove=remove)
        return self.settled()

    def press(self, x: float, y: float, *, remove: bool = False) -> None:
        """A click that waits for nothing."""
        self.page.mouse.click(*self.place(x, y), button="right" if remove else "left")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name, exact=isinstance(name, str))

    def clicks(self) -> list[str]:
        """The names of the clicks of the chosen object."""
        return [
            each.get_attribute("aria-label") or each.inner_text()
            for each in self.page.locator("#clicks .choose").all()
        ]

    def objects(self) -> list[str]:
        """The names of the objects."""
        return [
            each.get_attribute("aria-label") or each.inner_text()
            for each in self.page.locator("#objects .pick").all()
        ]

    # ---- what there is to see

    def painted(self, x: float, y: float) -> tuple[int, int, int, int]:
        """RGBA of the overlay at a point of the photo."""
        red, green, blue, alpha = self.page.locator("#overlay").evaluate(
            _PAINTED, list(self.place(x, y))
        )
        return red, green, blue, alpha

    def area(self) -> int:
        """Pixels of the chosen object's mask, as the page says."""
        found = re.search(r"([\d,]+) pixels", self.page.locator("#facts").inner_text())
        assert found is not None
        return int(found[1].replace(",", ""))

    # ---- what may be taken along

    def saved(self, button: str) -> tuple[str, bytes]:
        """The name and content of the file that a button saves."""
        with self.page.expect_download() as download:
            self.button(button).click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def mask(self) -> NDArray[np.bool_]:
        """The mask that "Mask PNG" saves, bool [H, W]."""
        values = np.array(Image.open(io.BytesIO(self.saved("Mask PNG")[1])))
        assert set(np.unique(values)) <= {0, 255}
        return values[..., 0] > 0 if values.ndim == 3 else values > 0

    def coco(self, form: str = "RLE") -> dict[str, Any]:
        self.page.get_by_role("radio", name=form).check(force=True)
        written: dict[str, Any] = json.loads(self.saved("COCO JSON")[1])
        return written

    def code(self) -> tuple[str, str]:
        """The lines for curl and for Python."""
        self.button("curl and Python").click()
        lines = [self.page.locator(f"#code-{which}").inner_text() for which in ("curl", "python")]
        self.page.locator("#code").get_by_role("button", name="Close").click()
        return lines[0], lines[1]
