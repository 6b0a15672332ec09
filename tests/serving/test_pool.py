"""What tells images apart, and which worker is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import nuclio_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog.serving.pool import image_mark
from tests.serving.conftest import WAIT, Running

Serve = Callable[..., Running]


def body(image: bytes, *, points: object = (), image_first: bool = True) -> bytes:
    fields: dict[str, object] = {"image": base64.b64encode(image).decode()}
    prompts = {"pos_points": points, "obj_bbox": [[1, 2], [3, 4]]}
    return json.dumps(fields | prompts if image_first else prompts | fields).encode()


@given(
    image=st.binary(min_size=1, max_size=20_000),
    points=st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), max_size=20),
    image_first=st.booleans(),
)
def test_an_image_has_one_mark_wherever_it_stands_and_whatever_is_clicked(
    image: bytes, points: list[tuple[float, float]], image_first: bool
) -> None:
    mark = image_mark(body(image))

    assert mark is not None
    assert image_mark(body(image, points=points, image_first=image_first)) == mark


def test_images_that_begin_and_end_alike_have_marks_of_their_own() -> None:
    images = [
        b"the camera's header" * 500 + bytes([n] * 4_000) + b"the end" * 900 for n in range(50)
    ]

    assert len({image_mark(body(image)) for image in images}) == len(images)


@pytest.mark.parametrize(
    "odd", [b"", b"{}", b'{"image"', b'{"image": 5}', b'{"image": "', b'"image"']
)
def test_a_body_without_an_image_has_no_mark(odd: bytes) -> None:
    assert image_mark(odd) is None


@given(st.binary(max_size=200))
def test_any_bytes_may_come(odd: bytes) -> None:
    image_mark(odd)
    image_mark(b'{"image":"' + odd)


def tell_who(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    return context.Response(body=context.worker_id, status_code=200)


def test_clicks_on_an_image_stay_with_its_worker_and_images_spread(serve: Serve) -> None:
    client = serve(tell_who, workers=3).client
    images = [bytes([n]) * 3_000 for n in range(3)]

    first = [client.post("/", content=body(image)).text for image in images]
    later = [
        [client.post("/", content=body(image, points=[[n, n]])).text for image in images]
        for n in range(4)
    ]

    assert sorted(first) == ["0", "1", "2"]
    assert later == [first] * 4


def test_who_finds_its_worker_busy_gets_another(serve: Serve) -> None:
    blocked, release = threading.Event(), threading.Event()

    def slow_once(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
        if not blocked.is_set():
            blocked.set()
            assert release.wait(WAIT)
        return tell_who(context, event)

    client = serve(slow_once, workers=2).client
    with ThreadPoolExecutor(1) as threads:
        pending = threads.submit(client.post, "/", content=body(b"image"))
        assert blocked.wait(WAIT)
        try:
            other = client.post("/", content=body(b"image")).text
        finally:
            release.set()
        assert {pending.result(WAIT).text, other} == {"0", "1"}
