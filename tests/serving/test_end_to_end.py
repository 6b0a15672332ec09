"""HTTP, Nuclio's rules, `main` and a network that really runs, together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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
