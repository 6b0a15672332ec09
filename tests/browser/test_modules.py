"""The page's own algorithms, run in the browser and checked against the libraries of others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page
from pycocotools import mask as coco

from tests.browser.asking import Mask, encoded
from tests.browser.hosting import Host


def masks() -> list[Mask]:
    """Masks of every kind: empty, full, single pixels, noise, blobs with holes."""
    chance = np.random.default_rng(14)
    y, x = np.mgrid[:37, :53]
    ring = np.abs(np.hypot(y - 18, x - 25) - 11) < 4
    corner = (x < 3) & (y < 4)
    diagonal = (x == y) | (x == y + 2)
    return [
        np.zeros((5, 7), bool),
        np.ones((5, 7), bool),
        np.eye(1, dtype=bool),
        ring,
        ring | corner,
        diagonal,
        ~ring,
        *(chance.random((int(h), int(w))) < p for h, w, p in [(1, 40, 0.5), (40, 1, 0.5)]),
        *(chance.random((31, 23)) < p for p in (0.02, 0.3, 0.5, 0.9)),
        np.kron(chance.random((20, 30)) < 0.4, np.ones((25, 30), bool)),
    ]


@pytest.fixture
def page(open_page: Callable[..., Page], host: Host) -> Page:
    return open_page(host.url)


def test_run_lengths_are_coco_s_both_ways(page: Page) -> None:
    rles = [encoded(mask) for mask in masks()]

    found = page.evaluate(
        """async rles => {
          const { Mask } = await import("/static/js/mask.js");
          const { countsOf } = await import("/static/js/rle.js");
          return rles.map(rle => {
            const mask = Mask.ofRle(rle);
            const counts = countsOf(mask.edges, rle.size[0] * rle.size[1]);
            return { counts, area: mask.area, box: mask.box };
          });
        }""",
        rles,
    )

    for rle, got in zip(rles, found, strict=True):
        assert got["counts"] == rle["counts"]
        assert got["area"] == coco.area(rle)
        x, y, width, height = coco.toBbox(rle)
        assert got["box"] == ([x, y, x + width, y + height] if got["area"] else None)


def test_outlines_enclose_exactly_the_mask(page: Page) -> None:
    rles = [encoded(mask) for mask in masks()]

    found = page.evaluate(
        """async rles => {
          const { Mask } = await import("/static/js/mask.js");
          return rles.map(rle => {
            const [height, width] = rle.size;
            const canvas = new OffscreenCanvas(width, height);
            const pen = canvas.getContext("2d");
            pen.fill(Mask.ofRle(rle).path, "evenodd");
            const { data } = pen.getImageData(0, 0, width, height);
            const alpha = data.filter((_, i) => i % 4 === 3);
            return btoa(Array.from(alpha, value => String.fromCharCode(value)).join(""));
          });
        }""",
        rles,
    )

    for mask, alpha in zip(masks(), found, strict=True):
        drawn = np.frombuffer(base64.b64decode(alpha), np.uint8).reshape(mask.shape)
        assert set(np.unique(drawn)) <= {0, 255}
        assert np.array_equal(drawn > 0, mask)


def test_the_digest_is_sha_256_without_the_browser_s_own_too(page: Page) -> None:
    lengths = (0, 1, 55, 56, 63, 64, 65, 1000, 100_003)
    contents = [np.random.default_rng(length).bytes(length) for length in lengths]

    found = page.evaluate(
        """async contents => {
          const { sha256, sha256Of } = await import("/static/js/digest.js");
          const hex = digest => Array.from(digest, b => b.toString(16).padStart(2, "0")).join("");
          return Promise.all(contents.map(async text => {
            const given = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            return [await sha256(given.buffer), hex(sha256Of(given))];
          }));
        }""",
        [base64.b64encode(content).decode() for content in contents],
    )

    assert found == [[hashlib.sha256(content).hexdigest()] * 2 for content in contents]
