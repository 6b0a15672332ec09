"""Simulated annotators at work: send a click, wait for the mask, think, click again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.roundrobin import Address

__all__ = ["Answered", "Mix", "at_work", "objects", "send"]

Point = tuple[float, float]


@dataclass(frozen=True)
class Answered:
    """One request: when it was sent, in seconds of the run, how long it took, and the status."""

    sent: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Mix:
    """How annotators work: mean seconds of thought, exponential; requests for each object."""

    think: float
    clicks: int


def objects(image: str, *, size: Point, mix: Mix, chance: random.Random) -> list[bytes]:
    """The requests for one object, as bodies: a box of its own, then one click more each time.

    Args:
        image: base64 of the photograph.
        size: its width and height in pixels.
        mix: how many clicks.
        chance: where the box lies.
    """
    width, height = size
    x, y = chance.uniform(0.05, 0.4) * width, chance.uniform(0.05, 0.4) * height
    right, bottom = x + chance.uniform(0.3, 0.5) * width, y + chance.uniform(0.3, 0.5) * height
    middle = ((x + right) / 2, (y + bottom) / 2)
    more = [
        (middle[0] + chance.uniform(-0.1, 0.1) * width, middle[1]) for _ in range(mix.clicks - 1)
    ]
    points = [middle, *more]
    return [
        json.dumps(
            {
                "image": image,
                "obj_bbox": [[x, y], [right, bottom]],
                "pos_points": points[: count + 1],
                "neg_points": [],
            }
        ).encode()
        for count in range(mix.clicks)
    ]


async def at_work(
    server: Address, sessions: Sequence[Sequence[bytes]], mix: Mix, *, people: int, seconds: float
) -> list[Answered]:
    """Let people work for a while.

    Args:
        server: where requests go; each on a connection of its own.
        sessions: objects to take from, at random.
        mix: their habits.
        people: how many.
        seconds: for how long; what is under way then is still answered and counted.
    """
    start = time.perf_counter()
    answered: list[Answered] = []

    async def person(number: int) -> None:
        chance = random.Random(number)
        while True:
            for body in chance.choice(sessions):
                await asyncio.sleep(chance.expovariate(1 / mix.think) if mix.think else 0)
                sent = time.perf_counter()
                if sent - start >= seconds:
                    return
                status = await send(server, body)
                took = time.perf_counter() - sent
                answered.append(Answered(sent=sent - start, seconds=took, status=status))

    await asyncio.gather(*(person(number) for number in range(people)))
    return answered


async def send(server: Address, body: bytes) -> int:
    """Send one request; its status, after the whole answer has arrived."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(
            b"POST / HTTP/1.1\r\nHost: iog\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return int(answer.split(b" ", 2)[1])
