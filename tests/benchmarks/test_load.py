"""The load test's parts: servers take turns, annotators work as told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator

from benchmarks.load import Answered, Mix, at_work, objects
from benchmarks.processes import Address


@contextlib.asynccontextmanager
async def _counting(seen: Counter[int], number: int) -> AsyncIterator[Address]:
    """A server that counts its requests and echoes the length of their bodies."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        seen[number] += 1
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        done.set()

    done = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield host, port
        await done.wait()


def test_annotators_click_until_the_time_is_over_and_servers_take_turns() -> None:
    seen: Counter[int] = Counter()

    async def run() -> list[Answered]:
        async with _counting(seen, 0) as first, _counting(seen, 1) as second:
            mix = Mix(think=0.02, clicks=2)
            body = b"x" * 500_000
            return await at_work([first, second], [[body, body]], mix, people=3, seconds=0.5)

    answered = asyncio.run(run())
    assert len(answered) == seen[0] + seen[1] > 3
    assert abs(seen[0] - seen[1]) <= 1
    assert all(each.status == 200 and each.sent < 0.5 for each in answered)


def test_an_object_is_a_box_that_stays_and_clicks_that_are_added() -> None:
    bodies = objects("", size=(640, 480), mix=Mix(0, 3), chance=random.Random(1))
    boxes = {body.split(b"obj_bbox")[1].split(b"pos_points")[0] for body in bodies}

    assert len(bodies) == 3
    assert len(boxes) == 1
    assert len({len(body) for body in bodies}) == 3
