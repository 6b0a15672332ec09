"""HTTP, Nuclio's rules, `main` and a network that really runs, together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import numpy as np
import pytest
from cvat_sdk.masks import decode_mask

import main
from tests.builders import BOX, CLICK, HEIGHT, WIDTH, photo
from tests.random_weights import write_random_lite
from tests.serving.conftest import Running

Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def running(serve_all: Serve, tmp_path_factory: pytest.TempPathFactory) -> Running:
    weights = write_random_lite(tmp_path_factory.mktemp("weights") / "random.pt")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IOG_MODEL", str(weights))
        environment.setenv("IOG_DEVICE", "cpu")
        environment.setenv("IOG_THREADS", "1")
        return serve_all(main.handler, init_context=main.init_context)


def counted(running: Running) -> Callable[[str], float]:
    """By how much a metric has grown since this call."""

    def figures() -> dict[str, float]:
        text = running.client.get("/metrics").text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(number) for name, number in pairs}

    before = figures()
    return lambda name: figures()[name] - before.get(name, 0.0)


def request(**changes: object) -> dict[str, object]:
    image = base64.b64encode(photo("JPEG")).decode()
    return {"image": image, "obj_bbox": BOX, "pos_points": [CLICK], "neg_points": [], **changes}


def test_a_click_gets_a_mask_and_the_next_one_comes_from_the_cache(running: Running) -> None:
    grown = counted(running)
    first = running.client.post("/", json=request())
    again = running.client.post("/", json=request())
    next_click = running.client.post("/", json=request(neg_points=[[12.0, 10.0]]))

    assert [r.status_code for r in (first, again, next_click)] == [200, 200, 200]
    assert first.headers["content-type"] == "application/json"
    mask = np.array(first.json()["mask"])
    assert mask.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask)) <= {0, 1}
    assert first.text == again.text
    assert grown('iog_cache_misses_total{cache="image"}') == 1.0
    assert grown('iog_cache_hits_total{cache="image"}') == 2.0
    # iog-lite refines: the encoded crop serves every further click on the same box.
    assert grown('iog_cache_hits_total{cache="crop"}') == 2.0
    assert grown('iog_requests_total{status="200"}') == 3.0


def test_cvat_gets_shapes_of_the_same_mask_that_others_get(running: Running) -> None:
    cvat = {"User-Agent": "CVAT/2.73.0 python-requests/2.33.1"}

    mask = running.client.post("/", json=request(), headers={"User-Agent": "CVAT/2.59.1 x"}).json()
    (shape,) = running.client.post("/", json=request(), headers=cvat).json()["shapes"]

    drawn = decode_mask(shape["points"], image_width=WIDTH, image_height=HEIGHT)
    assert np.array_equal(drawn, np.array(mask["mask"], bool))
    assert drawn.any()


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "text/plain", None],
)
def test_every_content_type_gets_the_same_answer(
    running: Running, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = json.dumps(request(output=["rle"])).encode()

    answer = running.client.post("/", content=body, headers=headers)

    assert answer.status_code == 200
    assert answer.json()["rle"]["size"] == [HEIGHT, WIDTH]


def test_what_goes_wrong_is_told_once_in_the_log(running: Running) -> None:
    before = len(running.log.getvalue())
    answers = [
        running.client.post("/", content=b"{", headers={"Content-Type": "application/json"}),
        running.client.post("/", json=request(image="AAAA")),
        running.client.post("/", json=request(obj_bbox=[[900, 900], [950, 950]])),
        running.client.post("/", json=[1, 2]),
    ]

    assert [answer.status_code for answer in answers] == [400, 415, 422, 400]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()["error"]) == {"code", "message", "field", "hint"}
    lines = running.log.getvalue()[before:].splitlines()
    assert [" warning Request status=4" in line for line in lines] == [True] * 4
