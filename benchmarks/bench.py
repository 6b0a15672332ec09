"""`iog bench`: ours and stock in turns, so that a machine's moods meet both."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.inputs import RequestFiles, SizeWH, stock_weights
from benchmarks.processes import (
    Address,
    BenchWorker,
    Say,
    Served,
    Subject,
    WorkerError,
    busy_cores,
    send,
    subjects_of,
)
from benchmarks.report import (
    AS_IT_COMES,
    PASSIVE,
    STAGES,
    STOCK,
    Curve,
    Point,
    Row,
    Run,
    described,
    measured,
)
from iog.errors import SettingsError
from iog.settings import Settings, available_cores

__all__ = [
    "Clicks",
    "Plan",
    "measure_busy",
    "measure_clicks",
    "measure_sweeps",
    "measure_throughput",
    "run",
]

_WARM_UP = 3  # requests of each client
_MEGAPIXELS = (0.3, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 50.0)
_SIDES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_CLICKS = (1, 2, 5, 10, 15, 20)
_THRESHOLDS = (0.99, 0.9, 0.7, 0.5, 0.3, 0.1, 0.01)
_BOX_PX = 300
_LARGE: SizeWH = (4000, 3000)
_USUAL: SizeWH = (1920, 1080)


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: of the photographs.
        rounds: clicks of each kind on each photograph.
        warm_up: whether one more round comes before them, for a process's first of a size may
            still set memory aside.
        cold_starts: processes started of each subject, after one that is not counted: it writes
            what is written once, fused weights and exports.
        seconds: of throughput for each number of workers; 0 for none.
        cores: CPU cores to share out among workers.
    """

    sizes: tuple[SizeWH, ...] = ((1920, 1080), (4000, 3000))
    rounds: int = 7
    warm_up: bool = True
    cold_starts: int = 3
    seconds: float = 5.0
    cores: int = 2


@dataclass(frozen=True)
class Clicks:
    """What `measure_clicks` found.

    Attributes:
        rows: cold start, clicks and stages of each subject that started.
        started: those.
        refused: the others, and why.
    """

    rows: list[Row]
    started: list[Subject]
    refused: dict[Subject, str]


def measure_clicks(
    subjects: Sequence[Subject], plan: Plan, files: RequestFiles, *, say: Say
) -> Clicks:
    """Measure cold start, clicks and stages, all subjects in turns.

    Args:
        subjects: stock and ours.
        plan: how much.
        files: the requests.
        say: told what happens.
    """
    first = files.write(plan.sizes[0])
    times: _Times = {subject: defaultdict(list) for subject in subjects}
    names: dict[Subject, dict[str, str]] = {}
    refused: dict[Subject, str] = {}
    with ExitStack() as stack:
        workers: dict[Subject, BenchWorker] = {}
        for turn in range(plan.cold_starts + 1):
            for subject in subjects:
                if subject in refused:
                    continue
                say(f"cold start of {subject}")
                worker = stack.enter_context(BenchWorker(subject))
                try:
                    reply = worker.ask("click", body=str(first))
                except WorkerError as error:
                    refused[subject] = str(error)
                    continue
                if turn > 0:
                    ms = (time.perf_counter() - worker.started) * 1e3
                    times[subject]["cold_start", _name(plan.sizes[0])].append(ms)
                names[subject] = {key: str(reply[key]) for key in ("engine", "precision")}
                if subject in workers:
                    workers[subject].close()
                workers[subject] = worker
        for size in plan.sizes:
            _take_turns(workers, size, plan, files, times, say)
        memory = {subject: worker.ask("memory") for subject, worker in workers.items()}
    stock = next((subject for subject in workers if subject.stock is not None), None)
    rows = [
        measured(
            values,
            stock=times[stock][what, image_size] if stock else None,
            what=what,
            image_size=image_size,
            model=subject.model,
            note=subject.note,
            **names[subject],
            **memory[subject],
        )
        for subject in workers
        for (what, image_size), values in times[subject].items()
    ]
    return Clicks(rows, list(workers), refused)


_Times = dict[Subject, defaultdict[tuple[str, str], list[float]]]
"""Milliseconds by subject, and by what they are of and the image's size."""


def _take_turns(
    workers: Mapping[Subject, BenchWorker],
    size: SizeWH,
    plan: Plan,
    files: RequestFiles,
    times: _Times,
    say: Say,
) -> None:
    """Measure first and next clicks and their stages on one image, all subjects in turns."""
    clicks = (
        ("first_click", "", files.write(size, clicks=1)),
        ("next_click", "next_", files.write(size, clicks=2)),
    )
    for turn in range(0 if plan.warm_up else 1, plan.rounds + 1):
        say(f"{_name(size)}: round {turn} of {plan.rounds}")
        for subject, worker in workers.items():
            for what, prefix, request in clicks:
                reply = worker.ask("click", body=str(request), forget=what == "first_click")
                if turn:
                    times[subject][what, _name(size)].append(reply["ms"])
                    for stage in STAGES:
                        times[subject][prefix + stage, _name(size)].append(reply["stages"][stage])


def _name(size: SizeWH) -> str:
    return f"{size[0]}x{size[1]}"


def measure_busy(subject: Subject, plan: Plan, files: RequestFiles, *, say: Say) -> Iterator[Row]:
    """Measure torch with ``OMP_WAIT_POLICY=PASSIVE`` and without it, in turns.

    Args:
        subject: names the model.
        plan: how much.
        files: the requests.
        say: told what happens.
    """
    size = plan.sizes[0]
    first, second = (str(files.write(size, clicks=clicks)) for clicks in (1, 2))
    environment = {**subject.environment, "IOG_ENGINE": "torch", "IOG_PRECISION": "fp32"}
    # An empty value takes the variable away.
    policies = {PASSIVE: "PASSIVE", AS_IT_COMES: ""}
    times: dict[str, list[float]] = {what: [] for what in policies}
    with ExitStack() as stack:
        workers: dict[str, BenchWorker] = {}
        for what, policy in policies.items():
            mine = replace(subject, environment={**environment, "OMP_WAIT_POLICY": policy})
            workers[what] = stack.enter_context(BenchWorker(mine, threads=plan.cores))
            workers[what].ask("click", body=first)
        memory = {what: worker.ask("memory") for what, worker in workers.items()}
        stack.enter_context(busy_cores(plan.cores))
        for turn in range(4 * plan.rounds + 1):
            say(f"next clicks of {subject.model} beside other programs: {turn}")
            for what, worker in workers.items():
                ms = worker.ask("click", body=second)["ms"]
                if turn:
                    times[what].append(ms)
    torch = replace(subject, engine="torch", precision="fp32")
    for what, found in times.items():
        yield _row_of(torch, size, found, what=what, **memory[what])


def _row_of(subject: Subject, size: SizeWH, times: list[float], **fields: Any) -> Row:  # noqa: ANN401
    return measured(
        times,
        stock=None,
        model=subject.model,
        engine=subject.engine,
        precision=subject.precision,
        image_size=_name(size),
        note=subject.note,
        **fields,
    )


def measure_sweeps(
    subject: Subject, bodies: RequestFiles, *, rounds: int, quick: bool, say: Say
) -> Iterator[Curve]:
    """The four curves of one subject.

    Args:
        subject: ours.
        bodies: the requests.
        rounds: clicks of each kind at each point.
        quick: every other point only, and no image above 12 megapixels.
        say: told what happens.
    """
    step = 2 if quick else 1
    with BenchWorker(subject) as worker:

        def point(at: float, first: Path, later: Path) -> Point:
            say(f"sweep: {first.stem}")
            return _point(worker, at, first, later, rounds)

        def clicked(at: float, size: SizeWH, width: float, height: float) -> Point:
            """Of a box in the middle, its sides as fractions of the image's."""
            x, y = 0.5 - width / 2, 0.5 - height / 2
            box = x, y, x + width, y + height
            return point(at, *(bodies.write(size, box=box, clicks=n) for n in (1, 2)))

        points = []
        for megapixels in [m for m in _MEGAPIXELS if not quick or m <= 12][::step]:
            size = _size(megapixels)
            points.append(clicked(megapixels, size, _BOX_PX / size[0], _BOX_PX / size[1]))
        yield Curve("image size", "megapixels", tuple(points))
        points = [clicked(side * side * 12, _LARGE, side, side) for side in _SIDES[::step]]
        yield Curve("box size", "megapixels of a 12-megapixel image", tuple(points))
        one = bodies.write(_USUAL, clicks=1)
        points = [point(n, one, bodies.write(_USUAL, clicks=n)) for n in _CLICKS[::step]]
        yield Curve("clicks", "clicks", tuple(points))
        points = []
        for threshold in _THRESHOLDS[::step]:
            first, later = (bodies.write(_LARGE, clicks=n, threshold=threshold) for n in (1, 2))
            area = worker.ask("click", body=str(later), area=True)["area"] / 1e6
            points.append(point(area, first, later))
        yield Curve("mask area", "megapixels of mask", tuple(sorted(points, key=lambda p: p.at)))


def _point(worker: BenchWorker, at: float, first: Path, later: Path, rounds: int) -> Point:
    replies: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for forget, body in ((True, first), (False, later)):
            reply = worker.ask("click", body=str(body), forget=forget)
            if turn:
                replies[forget].append(reply)

    def median(forget: bool, stage: str | None = None) -> float:
        found = replies[forget]
        times = [reply["stages"][stage] if stage else reply["ms"] for reply in found]
        return round(float(np.median(times)), 2)

    return Point(at, median(True), median(False), median(True, "network"), median(False, "network"))


def _size(megapixels: float) -> SizeWH:
    """Width and height, 4 to 3 and in whole blocks of a JPEG."""
    height = (megapixels * 1e6 * 3 / 4) ** 0.5
    return round(height * 4 / 3 / 16) * 16, round(height / 16) * 16


def measure_throughput(
    subject: Subject, plan: Plan, files: RequestFiles, *, say: Say
) -> Iterator[Row]:
    """Measure with a client for each worker, who sends one image after the other.

    Raises:
        RuntimeError: a server does not start, or refuses.
    """
    size = plan.sizes[0]
    new_image = _images(files.write(size))
    for count in sorted({1, plan.cores}):
        threads = max(1, plan.cores // count)
        say(f"throughput of {subject.model}, {count} x {threads}")
        environment = {**subject.environment, "IOG_THREADS": str(threads)}
        with closing(Served(workers=count, environment=environment)) as served:
            rate = asyncio.run(_rate(served.address, count, new_image, plan.seconds))
            memory = served.memory()
        what = f"throughput_{count}x{threads}"
        yield _row_of(subject, size, [1e3 / rate], what=what, **memory)


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


def run(
    settings: Settings,
    *,
    models: Sequence[str],
    engines: Sequence[str],
    precisions: Sequence[str],
    sizes: tuple[SizeWH, ...],
    rounds: int,
    sweeps: bool = False,
    throughput: bool = False,
    busy: bool = False,
    quick: bool = False,
) -> Run:
    """Everything, one model after the other; for each, stock and all its engines in turns.

    Raises:
        SettingsError, WeightsError: a model is unknown, or nothing could be measured.
    """
    cores = settings.threads or available_cores()
    plan = Plan(sizes=sizes, rounds=rounds, cores=cores)
    if quick:
        plan = replace(plan, rounds=min(rounds, 3), warm_up=False, cold_starts=1, seconds=2)
    found = Run([], {}, described(cores=cores))
    with TemporaryDirectory(prefix="iog-bench-") as name, Console(stderr=True).status("") as status:
        folder, say = Path(name), status.update
        files = RequestFiles(folder)
        stock = Subject(STOCK, "torch", "fp32", stock=folder / "stock.pth")
        stock_weights(folder / "stock.pth")
        for model in models:
            ours = subjects_of(
                model, engines=engines, precisions=precisions, settings=settings, folder=folder
            )
            clicks = measure_clicks([stock, *ours], plan, files, say=say)
            for left_out, reason in clicks.refused.items():
                print(f"Left out: {left_out}: {reason}", file=sys.stderr)
            started = [subject for subject in clicks.started if subject.stock is None]
            if not started:
                raise SettingsError("Nothing could be measured; the lines above say why.")
            # Stock took part in every turn, and its ratios are in all rows; it is shown once.
            found.rows.extend(
                [row for row in clicks.rows if not found.rows or row.model != stock.model]
            )
            if throughput:
                row = next(row for row in clicks.rows if row.model == started[0].model)
                # As it turned out to be, where `auto` was asked for.
                chosen = replace(started[0], engine=row.engine, precision=row.precision)
                found.rows.extend(measure_throughput(chosen, plan, files, say=say))
            if busy and model == models[0]:
                found.rows.extend(measure_busy(started[0], plan, files, say=say))
            if sweeps and not found.curves:
                curves = measure_sweeps(
                    started[0], files, rounds=2 if quick else 5, quick=quick, say=say
                )
                found.curves[str(started[0])] = list(curves)
    return found
