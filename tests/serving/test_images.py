"""Images that are sent once and named by their digest afterwards: `main` behind the real host."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import nuclio_sdk
import numpy as np
import pytest
from PIL import Image

import main
from iog.serving.pool import named_image
from iog.serving.runtime import Call
from tests.builders import BOX, CLICK, HEIGHT, WIDTH, announcing, oriented, photo, saved
from tests.random_weights import write_random_lite
from tests.serving.conftest import WAIT, Running

Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_random_lite(tmp_path_factory.mktemp("weights") / "random.pt"))


@pytest.fixture(scope="module")
def start(serve_all: Serve, weights: str) -> Callable[..., httpx.Client]:
    def started(*, workers: int = 1, cache_mb: int = 16, max_pixels: int = 10**6) -> httpx.Client:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("IOG_MODEL", weights)
            environment.setenv("IOG_DEVICE", "cpu")
            environment.setenv("IOG_THREADS", "1")
            environment.setenv("IOG_CACHE_MB", str(cache_mb))
            environment.setenv("IOG_MAX_PIXELS", str(max_pixels))
            running = serve_all(main.handler, init_context=main.init_context, workers=workers)
        return running.client

    return started


@pytest.fixture(scope="module")
def client(start: Callable[..., httpx.Client]) -> httpx.Client:
    return start()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(client: httpx.Client, data: bytes, **headers: str) -> httpx.Response:
    return client.put(f"/images/{digest(data)}", content=data, headers=headers)


def click(client: httpx.Client, **fields: object) -> httpx.Response:
    request = {"obj_bbox": BOX, "pos_points": [CLICK], "output": "objects"}
    return client.post("/", json=request | fields)


def error(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()["error"]
    assert told["message"].endswith(".")
    assert told["hint"].endswith(".")
    return answer.status_code, told["code"]


def test_an_image_that_was_put_is_named_by_its_digest(client: httpx.Client) -> None:
    data = photo("JPEG", quality=91)

    sent = put(client, data)
    named = click(client, image_sha256=digest(data))
    whole = click(client, image=base64.b64encode(data).decode())

    assert sent.status_code == 200
    assert sent.json() == {"image_sha256": digest(data), "width": WIDTH, "height": HEIGHT}
    assert named.status_code == 200
    assert named.text == whole.text
    assert sent.headers["x-iog-image"] == named.headers["x-iog-image"] == digest(data)
    assert put(client, data).json() == sent.json()  # once more changes nothing


def test_a_first_request_with_the_image_makes_its_digest_known(client: httpx.Client) -> None:
    data = photo("PNG", compress_level=3)

    first = click(client, image=base64.b64encode(data).decode())

    assert click(client, image_sha256=first.headers["x-iog-image"]).text == first.text


def test_an_image_that_nobody_sent_is_a_409_that_says_what_to_do(client: httpx.Client) -> None:
    answer = click(client, image_sha256="0" * 64)

    assert error(answer) == (409, "unknown_image")
    assert "PUT" in answer.json()["error"]["hint"]


def test_the_size_is_that_of_the_upright_image(client: httpx.Client) -> None:
    assert put(client, oriented(6)).json()["width"] == HEIGHT


def test_what_is_no_image_of_the_digest_is_refused(client: httpx.Client) -> None:
    data = photo("JPEG", quality=77)

    assert error(client.put(f"/images/{'1' * 64}", content=data)) == (400, "other_sha256")
    assert error(client.put(f"/images/{digest(data).upper()}", content=data)) == (
        400,
        "invalid_sha256",
    )
    assert error(client.put("/images/photo.jpg", content=data)) == (400, "invalid_sha256")
    assert error(put(client, b"no image at all")) == (415, "not_an_image")
    assert error(put(client, b"")) == (415, "not_an_image")
    assert error(put(client, b"{}", **{"Content-Type": "application/json"})) == (
        415,
        "not_an_image",
    )
    assert error(put(client, announcing(1001, 1000))) == (413, "too_many_pixels")
    assert error(click(client, image_sha256=digest(data))) == (409, "unknown_image")


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", ""])
def test_any_other_content_type_will_do(client: httpx.Client, kind: str) -> None:
    assert put(client, photo("JPEG"), **{"Content-Type": kind}).status_code == 200


def test_a_file_may_hold_any_bytes(client: httpx.Client) -> None:
    data = photo("JPEG") + b"," * 300_000  # more than a request may hold values

    assert put(client, data).status_code == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image": "AAAA", "image_sha256": "0" * 64}, "two_images"),
        ({}, "missing_field"),
        ({"image_sha256": None}, "invalid_sha256"),
        ({"image_sha256": ""}, "invalid_sha256"),
        ({"image_sha256": "0" * 63}, "invalid_sha256"),
        ({"image_sha256": "A" * 64}, "invalid_sha256"),
        ({"image_sha256": "0" * 64 + "\n"}, "invalid_sha256"),
        ({"image_sha256": 7}, "invalid_sha256"),
    ],
)
def test_one_image_is_named_in_one_way(
    client: httpx.Client, fields: dict[str, object], code: str
) -> None:
    assert error(click(client, **fields)) == (400, code)


def test_a_click_by_digest_moves_a_few_kilobytes(client: httpx.Client) -> None:
    data = photo("JPEG") + bytes(5_000_000)  # which readers skip
    assert put(client, data).status_code == 200

    answer = click(client, image_sha256=digest(data), form="rle")

    assert answer.status_code == 200
    assert len(answer.request.content) < 500
    assert len(answer.content) < 5_000


def test_a_file_larger_than_the_cache_is_refused_and_one_that_fits_pushes_others_out(
    start: Callable[..., httpx.Client],
) -> None:
    client = start(cache_mb=1)
    rng = np.random.default_rng(2)
    files = [
        saved(Image.fromarray(rng.integers(0, 255, (side, 500, 3), np.uint8)), "PNG")
        for side in (800, 500, 501)
    ]

    assert error(put(client, files[0])) == (413, "not_kept")
    assert put(client, files[1]).status_code == 200
    assert put(client, files[2]).status_code == 200
    assert error(click(client, image_sha256=digest(files[1]))) == (409, "unknown_image")


def test_several_workers_each_answer_about_the_images_they_have(
    start: Callable[..., httpx.Client],
) -> None:
    client = start(workers=3)
    files = [photo("JPEG", quality=quality) for quality in range(60, 69)]
    for data in files[:6]:
        assert put(client, data).status_code == 200
    for data in files[6:]:
        assert click(client, image=base64.b64encode(data).decode()).status_code == 200

    for data in files * 2:
        assert click(client, image_sha256=digest(data)).status_code == 200
    with ThreadPoolExecutor(9) as threads:
        answers = threads.map(lambda data: click(client, image_sha256=digest(data)), files * 3)
    assert {answer.status_code for answer in answers} == {200}


def tell_who(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    """Answers as a worker that knows what was put, and waits where the body says so."""
    named = named_image(Call(event.body, method=event.method, path=event.path))
    known = context.user_data.known
    if event.method == "PUT":
        known.add(named)
    if b"wait" in event.body:
        BLOCKED.set()
        assert RELEASE.wait(WAIT)
    status = 200 if named in known else 409
    return context.Response(body=context.worker_id, status_code=status)


BLOCKED, RELEASE = threading.Event(), threading.Event()


def remember_nothing(context: nuclio_sdk.Context) -> None:
    context.user_data.known = set()
    BLOCKED.clear()
    RELEASE.clear()


@pytest.mark.parametrize("patient", [True, False])
def test_who_names_an_image_waits_a_while_for_the_worker_that_has_it(
    serve: Serve, patient: bool
) -> None:
    known_wait = WAIT if patient else 0.01
    client = serve(
        tell_who, init_context=remember_nothing, workers=2, worker_wait=WAIT, known_wait=known_wait
    ).client
    name = "a" * 64
    request = b'{"image_sha256": "%b"}' % name.encode()
    owner = client.put(f"/images/{name}", content=b"x").text
    with ThreadPoolExecutor(2) as threads:
        busy = threads.submit(client.post, "/", content=request + b" and wait")
        assert BLOCKED.wait(WAIT)
        waiting = threads.submit(client.post, "/", content=request)
        other = client.post("/", content=request.replace(b"a" * 64, b"b" * 64))  # overtakes it
        again = client.put(f"/images/{'c' * 64}", content=b"x")
        if not patient:
            assert waiting.result(WAIT).status_code == 409
        RELEASE.set()
        answers = [busy.result(WAIT), waiting.result(WAIT)]

    assert (other.status_code, again.status_code) == (409, 200)
    assert owner not in (other.text, again.text)
    assert [answer.text == owner for answer in answers] == [True, patient]


def test_a_worker_that_has_lost_an_image_is_asked_for_it_no_more_than_once(serve: Serve) -> None:
    """After a 409 the image counts as unknown; whoever gets it next keeps it."""

    def forgetful(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
        status = 200 if event.method == "PUT" or b"known" in event.body else 409
        return context.Response(body=context.worker_id, status_code=status)

    client = serve(forgetful, workers=2).client
    name = "d" * 64
    first = client.put(f"/images/{name}", content=b"x").text

    request = b'{"image_sha256": "%b"}' % name.encode()
    lost = client.post("/", content=request)
    second = client.put(f"/images/{name}", content=b"x").text
    found = client.post("/", content=request + b"known")

    assert (lost.status_code, lost.text) == (409, first)
    assert second != first  # it is the other's turn
    assert (found.status_code, found.text) == (200, second)


def test_the_digest_of_a_call_is_found_in_its_path_or_its_body() -> None:
    name = "0123456789abcdef" * 4
    pretty = json.dumps({"image_sha256": name}, indent=4).encode()

    assert named_image(Call(b"", method="PUT", path=f"/images/{name}")) == name
    assert named_image(Call(pretty)) == name
    assert named_image(Call(b'{"image":"AAAA"}')) is None
    assert named_image(Call(b"", method="PUT", path="/images/x")) is None
    assert named_image(Call(os.urandom(1000))) is None
