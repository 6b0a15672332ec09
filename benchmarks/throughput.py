"""First clicks in a second, and memory, of `iog serve` with one worker and one for each core."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.annotators import send
from benchmarks.bodies import Bodies
from benchmarks.clicks import Plan, Say
from benchmarks.process import Contender
from benchmarks.roundrobin import Address
from benchmarks.rows import Row, measured
from benchmarks.served import Served

__all__ = ["measure_throughput"]

_WARM_UP = 3  # requests of each client


def measure_throughput(
    contender: Contender, plan: Plan, bodies: Bodies, *, say: Say
) -> Iterator[Row]:
    """Measure with a client for each worker, who sends one image after the other.

    Raises:
        RuntimeError: a server does not start, or refuses.
    """
    size = plan.sizes[0]
    new_image = _images(bodies.write(size))
    for count in sorted({1, plan.cores}):
        threads = max(1, plan.cores // count)
        say(f"throughput of {contender.model}, {count} x {threads}")
        environment = {**contender.environment, "IOG_THREADS": str(threads)}
        with closing(Served(workers=count, environment=environment)) as served:
            rate = asyncio.run(_rate(served.address, count, new_image, plan.seconds))
            memory = served.memory()
        yield measured(
            [1e3 / rate],
            stock=None,
            model=contender.model,
            engine=contender.engine,
            precision=contender.precision,
            image_size=f"{size[0]}x{size[1]}",
            what=f"throughput_{count}x{threads}",
            note=contender.note,
            **memory,
        )


def _images(path: Path) -> Callable[[], bytes]:
    """Requests for images that differ, in a few bytes after the end of the file only."""
    request = json.loads(path.read_text())
    image = base64.b64decode(request["image"])
    image += bytes(-len(image) % 3)  # so that the text of what follows follows that of the image
    text = base64.b64encode(image).decode()
    before, after = json.dumps({**request, "image": f"{text}NUMBER"}).encode().split(b"NUMBER")
    numbers = itertools.count()
    return lambda: before + base64.b64encode(next(numbers).to_bytes(6)) + after


async def _rate(
    server: Address, clients: int, new_image: Callable[[], bytes], seconds: float
) -> float:
    """Answers in a second, once everybody has got some."""

    async def answer() -> None:
        status = await send(server, new_image())
        if status != 200:
            raise RuntimeError(f"The server answered with status {status}.")

    async def work(end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            await answer()
            done += 1
        return done

    for _ in range(_WARM_UP):
        await asyncio.gather(*(answer() for _ in range(clients)))
    start = time.perf_counter()
    done = await asyncio.gather(*(work(start + seconds) for _ in range(clients)))
    return sum(done) / (time.perf_counter() - start)
