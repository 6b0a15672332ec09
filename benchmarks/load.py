"""The load test of docs/sizing.md: 1 to 4 workers that take turns, beside the model."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.processes import Address, Served, send
from iog.cli.size import Load, forecast
from iog.settings import available_cores

__all__ = ["Answered", "Mix", "Row", "at_work", "main", "objects"]

Point = tuple[float, float]
_PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
_PHOTO_SIZE = (512.0, 512.0)
_WARM_UP = 0.2  # of each run: its start is not what it settles to


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
    request = {"image": image, "obj_bbox": [[x, y], [right, bottom]], "neg_points": []}
    return [
        json.dumps({**request, "pos_points": points[:count]}).encode()
        for count in range(1, mix.clicks + 1)
    ]


async def at_work(
    servers: Sequence[Address],
    sessions: Sequence[Sequence[bytes]],
    mix: Mix,
    *,
    people: int,
    seconds: float,
) -> list[Answered]:
    """Let people work for a while.

    Args:
        servers: take the requests in turn, each on a connection of its own, as behind a Kubernetes
            Service or nginx.
        sessions: objects to take from, at random.
        mix: their habits.
        people: how many.
        seconds: for how long; what is under way then is still answered and counted.
    """
    turns = itertools.cycle(servers)
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
                status = await send(next(turns), body)
                took = time.perf_counter() - sent
                answered.append(Answered(sent=sent - start, seconds=took, status=status))

    await asyncio.gather(*(person(number) for number in range(people)))
    return answered


@dataclass(frozen=True)
class Row:
    """One run beside its forecast; times in seconds, throughput in answers per second."""

    replicas: int
    annotators: int
    first: float
    later: float
    requests: int
    failed: int
    throughput: float
    mean: float
    p50: float
    p95: float
    expected_throughput: float
    expected_mean: float
    expected_p95: float


def main() -> None:
    """Run the load test; see --help."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--annotators", type=int, nargs="+", default=[2, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--think", type=float, default=2, help="mean seconds between requests")
    parser.add_argument("--clicks", type=int, default=3, help="on each object")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    mix = Mix(think=options.think, clicks=options.clicks)
    image = base64.b64encode(_PHOTO.read_bytes()).decode()
    chance = random.Random(0)
    sessions = [objects(image, size=_PHOTO_SIZE, mix=mix, chance=chance) for _ in range(400)]
    rows: list[Row] = []
    # A small cache: objects come again in this test sooner than in real work.
    small = {"IOG_CACHE_MB": "32", "IOG_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with contextlib.ExitStack() as stack:
        started = (Served(workers=1, environment=small) for _ in range(max(options.replicas)))
        servers = [stack.enter_context(contextlib.closing(each)).address for each in started]
        for replicas in options.replicas:
            for people in options.annotators:
                # Before each run, as the machine may do something else besides.
                first, later = asyncio.run(_alone(servers[0], sessions[:5]))
                print(f"alone: first click {first:.3f} s, further {later:.3f} s", flush=True)
                load = Load(people, options.think, first, later, clicks=options.clicks)
                chosen, seconds = servers[:replicas], options.seconds
                work = at_work(chosen, sessions, mix, people=people, seconds=seconds)
                answered = asyncio.run(work)
                rows.append(_row(answered, load, replicas, options.seconds))
                print(rows[-1], flush=True)
    if options.json:
        about = {"cores": available_cores(), "think": options.think, "clicks": options.clicks}
        found = {**about, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(found, indent=1))
    if options.plot:
        _plot(rows, options.plot)


async def _alone(server: Address, sessions: list[list[bytes]]) -> tuple[float, float]:
    """Seconds of a first and of a further click when nobody else is there, medians."""
    first: list[float] = []
    later: list[float] = []
    for session in sessions:
        for number, body in enumerate(session):
            start = time.perf_counter()
            await send(server, body)
            (later if number else first).append(time.perf_counter() - start)
    return median(first), min(median(later), median(first)) if later else median(first)


def _row(answered: list[Answered], load: Load, replicas: int, seconds: float) -> Row:
    steady = [each for each in answered if each.sent >= _WARM_UP * seconds]
    times = [each.seconds for each in steady if each.status == 200] or [float("nan")]
    cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    # Replicas beyond the machine's cores share them: what the cores can do is the limit.
    expected = forecast(load, min(replicas, available_cores()))
    return Row(
        replicas=replicas,
        annotators=load.annotators,
        first=load.first,
        later=load.later,
        requests=len(steady),
        failed=sum(each.status != 200 for each in steady),
        throughput=sum(each.status == 200 for each in steady) / ((1 - _WARM_UP) * seconds),
        mean=sum(times) / len(times),
        p50=median(times),
        p95=cuts[-1],
        expected_throughput=expected.throughput,
        expected_mean=expected.mean,
        expected_p95=expected.p95,
    )


def _plot(rows: list[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, replicas in enumerate(sorted({row.replicas for row in rows})):
        line = [row for row in rows if row.replicas == replicas]
        people = [row.annotators for row in line]
        name = f"{replicas} replica" + ("s" if replicas > 1 else "")
        for axes, measured, expected in (
            (left, "throughput", "expected_throughput"),
            (right, "p95", "expected_p95"),
        ):
            found = [getattr(row, measured) for row in line]
            axes.plot(people, found, "o", color=f"C{number}", label=name)
            axes.plot(people, [getattr(row, expected) for row in line], "-", color=f"C{number}")
    left.set(xlabel="annotators", ylabel="answers per second", title="throughput")
    right.set(xlabel="annotators", ylabel="seconds", title="95 % answered within", yscale="log")
    left.legend(title="points measured, lines forecast", fontsize="small")
    figure.savefig(path)


if __name__ == "__main__":
    main()
