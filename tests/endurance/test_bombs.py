"""Requests that are made to hurt: refused before they cost anything."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import builders
from tests.endurance.harness import FULL, Service, check_answer, figure
from tests.endurance.sending import send_large

MOST_CPU_S = 1.0
MOST_BYTES = 100e6
MIB = 2**20


def one_colour_png(side: int) -> bytes:
    """A whole PNG of side x side black pixels, all of them there: a bit each, well packed."""
    packer = zlib.compressobj(9)
    line = bytes(1 + side // 8)
    pixels = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(builders.png_chunk(*chunk) for chunk in chunks)


def text_bomb() -> bytes:
    """A small PNG with a comment of 512 MB, packed into half a megabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(512)) + packer.flush()
    good = builders.photo("PNG")
    comment = builders.png_chunk(b"zTXt", b"Comment\0\0" + packed)
    return good[:33] + comment + good[33:]


def deep_profile_bomb() -> bytes:
    """The same as a colour profile."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(512)) + packer.flush()
    good = builders.photo("PNG")
    return good[:33] + builders.png_chunk(b"iCCP", b"Profile\0\0" + packed) + good[33:]


def looping_tiff() -> bytes:
    """A TIFF of which the list of pages is a circle."""
    data = bytearray(builders.deep_tiff())
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    end = first + 2 + 12 * count
    data[end : end + 4] = data[4:8]
    return bytes(data)


def _with(**fields: object) -> bytes:
    return json.dumps(builders.body(**fields)).encode()


def _image(make: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: json.dumps(builders.body(make())).encode()


def _number(text: bytes) -> bytes:
    return _with(pos_points=[["?", 1]]).replace(b'"?"', text)


# name: body, statuses it may get
BOMBS: dict[str, tuple[Callable[[], bytes], set[int]]] = {
    "PNG of 20,000 x 20,000 pixels, one colour": (_image(lambda: one_colour_png(20_000)), {413}),
    "PNG header of 2,147,483,647 x 2,147,483,647": (
        _image(lambda: builders.announcing(2**31 - 1, 2**31 - 1)),
        {413, 415},
    ),
    "PNG with a comment of 512 MB": (_image(text_bomb), {200, 415}),
    "PNG with a colour profile of 512 MB": (_image(deep_profile_bomb), {200, 415}),
    "TIFF whose pages go round": (_image(looping_tiff), {200, 415}),
    "lists 100,000 deep": (lambda: b"[" * 100_000, {400}),
    "objects 100,000 deep": (lambda: b'{"image":' * 100_000, {400}),
    "lists 100,000 deep, closed": (
        lambda: b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        {400},
    ),
    "100,000 points": (lambda: _with(pos_points=[[1, 1]] * 100_000), {400}),
    "100,000 boxes": (lambda: _with(obj_bbox=[[1, 1, 9, 9]] * 100_000), {400}),
    "60,000 points": (lambda: _with(pos_points=[[1, 1]] * 60_000), {422}),
    "100,000 outputs": (lambda: _with(output=["mask"] * 100_000), {200, 400}),
    "100,000 keys": (lambda: _with(**{f"k{n}": n for n in range(100_000)}), {200}),
    "1e308 as coordinate": (lambda: _number(b"1e308"), {400}),
    "NaN as coordinate": (lambda: _number(b"NaN"), {400}),
    "-Infinity as coordinate": (lambda: _number(b"-Infinity"), {400}),
    "a number of 1,000,000 digits": (lambda: _number(b"9" * 1_000_000), {400}),
    "a key of 10 MB": (lambda: _with(**{"k" * 10_000_000: 1}), {200}),
    "lists in a body of 60 MB": (
        lambda: b'{"pos_points": [' + b"[1,1]," * 10_000_000 + b"[1,1]]}",
        {400},
    ),
    "numbers in a body of 60 MB": (
        lambda: b'{"pos_points": [' + b"0," * 30_000_000 + b"0]}",
        {400},
    ),
}
LARGE = {name for name in BOMBS if "60 MB" in name or "512 MB" in name}


@pytest.fixture
def calm(small_service: Service) -> Iterator[Service]:
    small_service.post(builders.body())
    yield small_service
    assert small_service.post(builders.body()).status_code == 200


@pytest.mark.parametrize("name", [n for n in BOMBS if FULL or n not in LARGE])
def test_a_bomb_is_refused_at_once(calm: Service, name: str) -> None:
    make, statuses = BOMBS[name]
    _measure(calm, name, lambda body: calm.post(body), make(), statuses)


@pytest.mark.skipif(not FULL, reason="make endurance: 200 MB take their time on a busy machine")
def test_base64_of_200_megabytes(calm: Service) -> None:
    body = {"image": "A" * 200_000_000}
    _measure(calm, "base64 of 200 MB", calm.post, json.dumps(body).encode(), {400})


def test_the_largest_body_that_is_read_costs_what_it_says(calm: Service) -> None:
    """Not refused at once, for it could be an image: it is held five times while it is read."""
    body = _with(image="!" * 60_000_000)
    before, start = calm.reset_peak(), calm.cpu_s()
    answer = calm.post(body)
    grown, seconds = calm.peak() - before, calm.cpu_s() - start
    assert answer.json()["error"]["code"] == "invalid_base64"
    assert seconds < MOST_CPU_S
    assert grown < 6.5 * len(body)
    figure(
        "bombs",
        bomb="60 MB in place of base64 (a body that is read)",
        status=400,
        cpu_s=round(seconds, 2),
        mb=grown // 10**6,
    )


def test_a_body_without_end(calm: Service) -> None:
    """Chunks of a megabyte, again and again: at some time the server hangs up."""
    before, start = calm.reset_peak(), calm.cpu_s()
    sent, answer = send_large(calm.url, MIB, most=2**30)
    grown, seconds = calm.peak() - before, calm.cpu_s() - start
    assert answer.startswith(b"HTTP/1.1 400")
    assert sent < 2**30
    assert grown < MOST_BYTES
    figure(
        "bombs", bomb="a body without end", status=400, cpu_s=round(seconds, 2), mb=grown // 10**6
    )


def _measure(
    running: Service,
    name: str,
    send: Callable[[bytes], Any],
    body: bytes,
    statuses: set[int],
) -> None:
    workers = [worker.pid for worker in running.workers()]
    before, start = running.reset_peak(), running.cpu_s()
    answer = send(body)
    grown, seconds = running.peak() - before, running.cpu_s() - start
    check_answer(answer)
    figure(
        "bombs",
        bomb=name,
        status=answer.status_code,
        cpu_s=round(seconds, 2),
        mb=max(grown, 0) // 10**6,
    )
    assert answer.status_code in statuses
    assert seconds < MOST_CPU_S, f"{seconds:.2f} s"
    assert grown < MOST_BYTES, f"{grown / 1e6:.0f} MB"
    assert [worker.pid for worker in running.workers()] == workers
