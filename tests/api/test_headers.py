"""Who gets which outputs, from headers as they arrive."""

from __future__ import annotations

import io
import re

import nuclio_sdk
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from iog.api.headers import outputs_for, request_id
from iog.serving.runtime import Call, Runtime

# What arrives when CVAT 2.73.0 calls the function itself, and through Nuclio's dashboard.
DIRECT = {
    "Host": "host.docker.internal:32768",
    "User-Agent": "CVAT/2.73.0 python-requests/2.33.1",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Content-Length": "152330",
    "Content-Type": "application/json",
}
THROUGH_THE_DASHBOARD = DIRECT | {
    "Host": "nuclio-nuclio-pth-shiyinzhang-iog:8080",
    "X-Nuclio-Project-Name": "cvat",
    "X-Nuclio-Function-Name": "pth-shiyinzhang-iog",
    "X-Nuclio-Function-Namespace": "nuclio",
    "X-Nuclio-Invoke-Via": "domain-name",
    "X-Nuclio-Invoke-Timeout": "120s",
    "X-Nuclio-Path": "/",
}


@pytest.mark.parametrize("recorded", [DIRECT, THROUGH_THE_DASHBOARD])
def test_headers_of_cvat_ask_for_shapes_in_every_form(recorded: dict[str, str]) -> None:
    forms: list[object] = [
        recorded,
        {name.lower(): value for name, value in recorded.items()},
        {name.upper(): value for name, value in recorded.items()},
        {name.encode(): value.encode() for name, value in recorded.items()},
        {name.encode(): value for name, value in recorded.items()},
        list(recorded.items()),
        tuple((name.encode(), value.encode()) for name, value in recorded.items()),
        [[name, value] for name, value in recorded.items()],
    ]
    assert [outputs_for(form) for form in forms] == [("shapes",)] * len(forms)


def test_the_headers_are_those_that_requests_sends_for_cvat() -> None:
    session = requests.Session()  # as CVAT's `make_requests_session` makes it
    session.headers["User-Agent"] = f"CVAT/2.73.0 {requests.utils.default_user_agent()}"
    call = requests.Request("POST", f"http://{DIRECT['Host']}", json={"pos_points": []})

    sent = session.prepare_request(call).headers

    assert {*sent, "Host"} == set(DIRECT)
    assert re.sub(r"[\d.]+", "", str(sent["User-Agent"])) == re.sub(
        r"[\d.]+", "", DIRECT["User-Agent"]
    )
    assert outputs_for(sent) == ("shapes",)


def agent(version: str) -> dict[str, str]:
    return {"User-Agent": f"CVAT/{version} python-requests/2.32.4"}


@pytest.mark.parametrize(
    "version",
    ["2.60.0", "2.60", "2.60.1", "2.61.0-alpha", "2.73.0.dev1", "2.100.0", "3.0.0", "10.0.0"],
)
def test_cvat_from_2_60_on_reads_shapes(version: str) -> None:
    assert outputs_for(agent(version)) == ("shapes",)


@pytest.mark.parametrize(
    "version",
    ["1.3.0", "2.6.0", "2.7.3", "2.16.2", "2.59.1", "2.59.99", "2.60.0-alpha", "2.60.0a0"],
)
def test_older_cvat_reads_mask_only(version: str) -> None:
    assert outputs_for(agent(version)) == ("mask",)


@pytest.mark.parametrize(
    "text",
    ["", "CVAT", "CVAT/", "CVAT/dev", "CVAT/2", "CVAT/2.x", "CVAT/ 2.73.0", "CVAT/-2.73.0",
     "CVAT/2.\u0667\u0663.0", "CVAT/2." + 5000 * "9", "CVAT/" + 5000 * "9" + ".0",
     "curl/8.14.1", "python-requests/2.33.1", "Mozilla/5.0 CVAT/2.73.0", "cvat_sdk/2.80.0"],
)  # fmt: skip
def test_an_unreadable_version_gets_a_mask_and_so_does_everybody_else(text: str) -> None:
    assert outputs_for({"User-Agent": text}) == ("mask",)
    assert outputs_for({b"user-agent": text.encode()}) == ("mask",)


@pytest.mark.parametrize(
    "headers",
    [None, {}, [], (), "User-Agent: CVAT/2.73.0", b"CVAT/2.73.0", 7, object(), [()], [(1, 2, 3)],
     ["User-Agent"], {"User-Agent": None}, {"User-Agent": ["CVAT/2.73.0"]}, {7: 8},
     {b"\xff": b"\xff"}],
)  # fmt: skip
def test_no_headers_that_can_be_read_get_a_mask(headers: object) -> None:
    assert outputs_for(headers) == ("mask",)


TEXT = st.text(max_size=20) | st.binary(max_size=20) | st.just("User-Agent") | st.just(b"CVAT/2.7")


@given(st.dictionaries(TEXT, TEXT | st.none() | st.integers()) | st.lists(st.tuples(TEXT, TEXT)))
def test_no_headers_raise(headers: object) -> None:
    assert outputs_for(headers) in (("mask",), ("shapes",))


def test_the_local_host_hands_the_headers_on_as_nuclio_does() -> None:
    def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> str:
        return outputs_for(event.headers)[0]

    runtime = Runtime(lambda _: None, handler, log=io.StringIO())
    headers = {name.lower(): value for name, value in DIRECT.items()}

    assert runtime.answer(Call(b"{}", headers)).body == b"shapes"
    assert runtime.answer(Call(b"{}")).body == b"mask"


def test_a_wrapper_told_not_to_decode_hands_over_bytes() -> None:
    text = ("content_type", "id", "method", "path", "url", "type", "type_version", "version")
    number = ("size", "timestamp", "shard_id", "num_shards")
    message: dict[bytes, object] = {name.encode(): b"" for name in text}
    message |= {name.encode(): 0 for name in number}
    message |= {b"body": b"{}", b"fields": {}, b"trigger": {b"kind": b"http", b"name": b"http"}}
    message[b"headers"] = {name.encode(): value.encode() for name, value in DIRECT.items()}

    event = nuclio_sdk.Event.deserialize(
        message, kind=nuclio_sdk.EventDeserializerKinds.msgpack_raw
    )

    assert event.get_header("User-Agent") is None, "the case that the function has to handle"
    assert outputs_for(event.headers) == ("shapes",)


@pytest.mark.parametrize(
    "brought", ["7", "0af7651916cd43dd8448eb211c80319c", "a/b:c=d", "x" * 128, b"bytes-1"]
)
def test_a_sane_number_is_taken_over(brought: str | bytes) -> None:
    expected = brought.decode() if isinstance(brought, bytes) else brought

    assert request_id({"X-Request-Id": brought}) == expected
    assert request_id([(b"x-request-id", brought)]) == expected


@pytest.mark.parametrize("brought", ["", " ", "x" * 129, "two words", "a\nb", "\x1b[31m", "é", 5])
def test_a_number_that_would_break_a_line_or_a_header_is_replaced(brought: object) -> None:
    made = {request_id({"X-Request-Id": brought}) for _ in range(2)}

    assert len(made) == 2
    assert all(len(number) == 32 and number.isalnum() for number in made)
