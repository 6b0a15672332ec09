"""HTTP, Nuclio's rules, `main` and a network that really runs, together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cvat_sdk.masks import decode_mask

import main
from tests.builders import BOX, CLICK, HEIGHT, WIDTH, photo
from tests.random_weights import write_random_lite
from tests.serving.conftest import Running

Serve = Callable[..., Running]


@pytest.fixture
def running(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("IOG_MODEL", str(write_random_lite(tmp_path / "random.pt")))
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    monkeypatch.setenv("IOG_THREADS", "1")
    return serve(main.handler, init_context=main.init_context)


def request(**changes: object) -> dict[str, object]:
    image = base64.b64encode(photo("JPEG")).decode()
    return {"image": image, "obj_bbox": BOX, "pos_points": [CLICK], "neg_points": [], **changes}


def test_a_click_gets_a_mask_and_the_next_one_comes_from_the_cache(running: Running) -> None:
    first = running.client.post("/", json=request())
    again = running.client.post("/", json=request())
    next_click = running.client.post("/", json=request(neg_points=[[12.0, 10.0]]))

    assert [r.status_code for r in (first, again, next_click)] == [200, 200, 200]
    assert first.headers["content-type"] == "application/json"
    mask = np.array(first.json()["mask"])
    assert mask.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask)) <= {0, 1}
    assert first.text == again.text
    metrics = running.client.get("/metrics").text
    assert 'iog_cache_misses_total{cache="image"} 1.0' in metrics
    assert 'iog_cache_hits_total{cache="image"} 2.0' in metrics
    # iog-lite refines: the encoded crop serves every further click on the same box.
    assert 'iog_cache_hits_total{cache="crop"} 2.0' in metrics
    assert 'iog_requests_total{status="200"} 3.0' in metrics


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
    lines = running.log.getvalue().splitlines()
    assert [" warning Request status=4" in line for line in lines] == [False] + [True] * 4
