"""The rules of Nuclio's Python wrapper, seen through `Runtime`."""

from __future__ import annotations

import io
import json
from typing import Any

import nuclio_sdk
import pytest

from iog.serving.runtime import Answer, Call, Runtime


def run(
    output: object, call: Call | None = None, log: io.StringIO | None = None
) -> tuple[Answer, Any]:
    """Answer one call with ``output`` (raised if it is an exception); the answer and the event."""
    seen: list[nuclio_sdk.Event] = []

    def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
        seen.append(event)
        if isinstance(output, BaseException):
            raise output
        return output

    answer = Runtime(lambda _: None, handler, log=log or io.StringIO()).answer(call or Call(b""))
    return answer, seen[0] if seen else None


def body_of(body: bytes, content_type: str | None) -> object:
    headers = {} if content_type is None else {"content-type": content_type}
    _, event = run("", Call(body, headers))
    return event.body


def test_a_body_is_decoded_only_for_exactly_application_json() -> None:
    body = b'{"a": 1}'

    assert body_of(body, "application/json") == {"a": 1}
    assert body_of(body, "application/json; charset=utf-8") == body
    assert body_of(body, "Application/JSON") == body
    assert body_of(body, "text/plain") == body
    assert body_of(body, None) == body


@pytest.mark.parametrize(
    "body", [b"", b"{", b'\xef\xbb\xbf{"a": 1}', b"\xff\xfe", b'{"a": "\xe9"}']
)
def test_what_is_not_json_arrives_as_bytes(body: bytes) -> None:
    assert body_of(body, "application/json") == body


@pytest.mark.parametrize(
    ("body", "value"), [(b"[1, 2]", [1, 2]), (b'"a"', "a"), (b"3.5", 3.5), (b"null", None)]
)
def test_json_that_is_no_object_arrives_as_it_is(body: bytes, value: object) -> None:
    assert body_of(body, "application/json") == value


def test_the_event_carries_the_request() -> None:
    headers = {"content-type": "text/plain", "x-one": "1"}
    _, event = run("", Call(b"abc", headers, method="POST", path="/p", query={"q": "2"}))

    assert event.content_type == "text/plain"
    assert event.headers == {"Content-Type": "text/plain", "X-One": "1"}
    assert event.get_header("x-oNe") == "1"
    assert (event.method, event.path, event.fields, event.size) == ("POST", "/p", {"q": "2"}, 3)
    assert event.trigger.kind == "http"


R = nuclio_sdk.Response


@pytest.mark.parametrize(
    ("output", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain", b"text"),
        ({"a": float("nan")}, 200, "application/json", b'{"a": "NaN"}'),
        ([{"first": 1}, {"second": 2}], 200, "application/json", b'{"first": 1}'),
        ((418, "teapot"), 418, "text/plain", b"teapot"),
        ((400, {"e": 1}), 400, "application/json", b'{"e": 1}'),
        (R(body="{}", content_type="application/json"), 200, "application/json", b"{}"),
        (R(body={"a": 1}, content_type="x/y"), 200, "application/json", b'{"a": 1}'),
        (R(body=[1], content_type="x/y", status_code=201), 201, "x/y", b"[1]"),
        (R(body=b"\x00\xff", content_type="image/png"), 200, "image/png", b"\x00\xff"),
        (R(body="x"), 200, "text/plain", b"x"),
        (None, 200, "text/plain", b"None"),
    ],
)
def test_the_kind_of_answer_follows_from_what_is_returned(
    output: object, status: int, content_type: str, body: bytes
) -> None:
    answer, _ = run(output)

    assert (answer.status, answer.content_type, answer.body) == (status, content_type, body)


def test_only_header_values_that_are_strings_survive() -> None:
    answer, _ = run(R(headers={"X-Text": "5", "X-Int": 5, "X-None": None}))

    assert answer.headers == {"X-Text": "5"}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), RecursionError("deep")])
def test_an_exception_becomes_500_with_the_traceback(error: BaseException) -> None:
    log = io.StringIO()
    answer, _ = run(error, log=log)

    assert answer.status == 500
    assert answer.content_type == "text/plain"
    assert b"Traceback" in answer.body
    assert type(error).__name__ in log.getvalue()


def test_header_bytes_that_are_not_utf8_are_a_500_and_the_worker_lives_on() -> None:
    calls: list[object] = []

    def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        calls.append(event)
        return ""

    runtime = Runtime(lambda _: None, handler, log=io.StringIO())

    bad = runtime.answer(Call(b"", {"x-name": "\xff"}))
    good = runtime.answer(Call(b""))

    assert bad.status == 500
    assert good.status == 200
    assert len(calls) == 1


def test_the_context_stays_from_call_to_call() -> None:
    def init_context(context: nuclio_sdk.Context) -> None:
        context.user_data.count = 0

    def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
        context.user_data.count += 1
        context.user_data.report = {"count": context.user_data.count}
        return context.Response(body=str(context.user_data.count))

    runtime = Runtime(init_context, handler, log=io.StringIO())
    runtime.start()
    answers = [runtime.answer(Call(b"")) for _ in range(5)]

    assert [answer.body for answer in answers] == [b"1", b"2", b"3", b"4", b"5"]
    assert [answer.report["count"] for answer in answers] == [1, 2, 3, 4, 5]


def test_what_init_context_raises_reaches_the_host() -> None:
    def init_context(context: nuclio_sdk.Context) -> None:
        raise ValueError("no weights")

    runtime = Runtime(init_context, lambda *_: "", log=io.StringIO())
    with pytest.raises(ValueError, match="no weights"):
        runtime.start()


def test_the_log_carries_the_fields() -> None:
    log = io.StringIO()

    def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        context.logger.info_with("Request", status=200)
        return json.dumps({})

    runtime = Runtime(lambda _: None, handler, log=log)
    runtime.answer(Call(b""))

    assert "info Request status=200\n" in log.getvalue()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_malformed_json_is_left_to_the_handler_to_tell(
    body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert body_of(body, "application/json") == body
    assert capsys.readouterr() == ("", "")
