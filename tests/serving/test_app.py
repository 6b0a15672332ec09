"""The routes of the local host, over real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import nuclio_sdk

from tests.serving.conftest import WAIT, Running

Serve = Callable[..., Running]


def echo(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    context.user_data.report = {"total_ms": 1.5, "image_cache_misses": 1}
    return context.Response(
        body=type(event.body).__name__,
        headers={"X-Seen": str(event.get_header("x-sent"))},
        content_type="application/json",
        status_code=201,
    )


def test_a_request_goes_through_the_wrapper_to_the_handler(serve: Serve) -> None:
    client = serve(echo).client

    answer = client.post("/", json={"a": 1}, headers={"X-Sent": "yes"})

    assert answer.status_code == 201
    assert answer.text == "dict"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-seen"] == "yes"
    charset = client.post("/", content="{}", headers={"Content-Type": "application/json; a=b"})
    assert charset.text == "bytes"


def test_health_and_help_answer_without_the_worker(serve: Serve) -> None:
    blocked, release = threading.Event(), threading.Event()

    def slow(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        blocked.set()
        assert release.wait(WAIT)
        return "done"

    client = serve(slow).client
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.post, "/", content=b"")
        assert blocked.wait(WAIT)
        try:
            health = client.get("/health")
            help_page = client.get("/")
            metrics = client.get("/metrics").text
        finally:
            release.set()
        assert pending.result(WAIT).text == "done"

    assert health.json()["status"] == "ok"
    assert "POST /" in help_page.json()["request"]
    assert "iog_requests_in_flight 1.0" in metrics
    assert "iog_requests_in_flight 0.0" in client.get("/metrics").text


def test_metrics_count_answers_and_the_handlers_report(serve: Serve) -> None:
    client = serve(echo).client
    for _ in range(3):
        client.post("/", content=b"x")

    answer = client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'iog_requests_total{status="201"} 3.0' in answer.text
    assert 'iog_stage_seconds_count{stage="total"} 3.0' in answer.text
    assert 'iog_cache_misses_total{cache="image"} 3.0' in answer.text


def test_other_routes_and_methods_get_json(serve: Serve) -> None:
    client = serve(echo).client

    missing, wrong = client.get("/nowhere"), client.put("/", content=b"")

    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"
    assert wrong.status_code == 405
    assert wrong.json()["error"]["code"] == "method_not_allowed"
    assert set(wrong.headers["allow"].replace(" ", "").split(",")) >= {"POST"}


def test_a_body_over_the_limit_is_a_400_that_arrives(serve: Serve) -> None:
    client = serve(echo, body_limit=1000).client

    fits = client.post("/", content=b"x" * 1000)
    too_large = client.post("/", content=b"x" * 1001)

    assert fits.status_code == 201
    assert too_large.status_code == 400
    assert too_large.json()["error"]["code"] == "body_too_large"
    assert "1000 bytes" in too_large.json()["error"]["message"]
    assert 'iog_requests_total{status="400"} 1.0' in client.get("/metrics").text


def test_a_body_without_a_length_is_limited_too(serve: Serve) -> None:
    client = serve(echo, body_limit=1000).client

    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 100

    assert client.post("/", content=chunks()).status_code == 400


def test_an_endless_body_is_cut_off(serve: Serve) -> None:
    running = serve(echo, body_limit=1000)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(90):
            connection.sendall(b"64\r\n" + b"x" * 100 + b"\r\n")
        # Never finished, and still answered.
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_who_waits_too_long_for_the_worker_gets_503(serve: Serve) -> None:
    blocked, release = threading.Event(), threading.Event()

    def slow(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        blocked.set()
        assert release.wait(WAIT)
        return "done"

    client = serve(slow, worker_wait=0.05).client
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/", content=b"")
        assert blocked.wait(WAIT)
        second = client.post("/", content=b"")
        release.set()
        assert first.result(WAIT).status_code == 200
    assert second.status_code == 503
    assert second.json()["error"]["code"] == "busy"
    assert client.post("/", content=b"").text == "done"


def test_a_client_that_leaves_while_sending_hurts_nobody(serve: Serve) -> None:
    running = serve(echo)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")

    assert running.client.post("/", content=b"").status_code == 201


def test_concurrent_requests_are_each_answered_with_their_own(serve: Serve) -> None:
    busy = threading.Lock()

    def exclusive(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        assert busy.acquire(blocking=False), "two requests at once in one worker"
        try:
            return str(event.body.decode())
        finally:
            busy.release()

    client = serve(exclusive).client
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.post("/", content=str(n)).text, range(40)))

    assert answers == [str(n) for n in range(40)]


def test_a_queue_that_is_full_refuses_at_once_and_says_when_to_come_back(serve: Serve) -> None:
    blocked, release = threading.Event(), threading.Event()

    def slow(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        blocked.set()
        assert release.wait(WAIT)
        return "done"

    client = serve(slow, worker_wait=WAIT, queue=0).client
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/", content=b"")
        assert blocked.wait(WAIT)
        refused = client.post("/", content=b"")  # would wait for a long time
        release.set()
        assert first.result(WAIT).status_code == 200
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "busy"
    assert refused.headers["retry-after"] == "1"


def test_two_workers_answer_at_once(serve: Serve) -> None:
    together = threading.Barrier(2, timeout=WAIT)

    def meet(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        together.wait()
        return str(context.worker_id)

    client = serve(meet, workers=2).client
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda _: client.post("/", content=b"").text, range(2))

    assert set(answers) == {"0", "1"}


def test_a_body_that_does_not_arrive_is_given_up(serve: Serve) -> None:
    running = serve(echo, body_seconds=0.1)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")

    assert running.client.post("/", content=b"").status_code == 201


def test_bodies_share_a_bound_and_give_their_room_back(serve: Serve) -> None:
    running = serve(echo, body_limit=1000)
    host, port = running.url.removeprefix("http://").split(":")
    waiting = [socket.create_connection((host, int(port)), timeout=WAIT) for _ in range(8)]
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    for connection in waiting:
        connection.sendall(head + b"x" * 990)
    while "in_flight 8.0" not in running.client.get("/metrics").text:
        pass
    refused = running.client.post("/", content=b"x" * 500)
    small = running.client.post("/", content=b"x" * 50)
    for connection in waiting:
        connection.sendall(b"x" * 10)
        assert connection.recv(100).startswith(b"HTTP/1.1 201")
        connection.close()

    assert refused.status_code == 503
    assert small.status_code == 201
    assert running.client.post("/", content=b"x" * 1000).status_code == 201


def test_a_body_of_very_many_values_is_refused_undecoded(serve: Serve) -> None:
    client = serve(echo).client

    answer = client.post("/", content=b"[" + b"0," * 200_001 + b"0]")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "too_many_values"


def test_health_help_and_metrics_name_what_runs(serve: Serve) -> None:
    named = {"model": "iog-lite", "engine": "torch", "version": "1.2", "threshold": 0.4}
    about = {**named, "device": "cpu"}

    def init_context(context: nuclio_sdk.Context) -> None:
        context.user_data.about = about

    client = serve(echo, init_context=init_context).client

    workers = {"workers": 1, "ready": 1}
    assert client.get("/health").json() == {"status": "ok", **workers, **named}
    assert client.get("/").json().items() >= named.items()
    metrics = client.get("/metrics").text
    assert 'engine="torch",model="iog-lite",precision="",version="1.2"} 1.0' in metrics
    assert 'iog_worker_resident_memory_bytes{worker="0"}' in metrics


def tell_number(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    return context.Response(body=event.get_header("X-Request-ID"), status_code=200)


def test_the_number_of_a_request_goes_to_the_handler_and_back(serve: Serve) -> None:
    client = serve(tell_number).client

    brought = client.post("/", content=b"", headers={"X-Request-ID": "abc-1"})
    made = client.post("/", content=b"")
    unfit = client.post("/", content=b"", headers={"X-Request-ID": "x" * 500})

    assert brought.text == brought.headers["X-Request-ID"] == "abc-1"
    assert len(made.text) == len(unfit.text) == 32
    assert made.headers.get_list("X-Request-ID") == [made.text]
    assert unfit.headers["X-Request-ID"] == unfit.text != made.text


def test_what_the_host_refuses_is_told_as_what_the_function_refuses(serve: Serve) -> None:
    running = serve(echo, body_limit=1000)

    answer = running.client.post("/", content=b"x" * 1001, headers={"X-Request-ID": "abc-1"})

    assert answer.headers["X-Request-ID"] == "abc-1"
    (line,) = running.log.getvalue().splitlines()
    assert " warning Request status=400 total_ms=" in line
    assert " request_id=abc-1 code=body_too_large error='The body has more than " in line
