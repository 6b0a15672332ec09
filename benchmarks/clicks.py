"""Cold start, first click and next click: ours and stock in turns, so that both have the same day.

A machine's speed drifts by tens of percent from minute to minute. A ratio of two times taken in
turns does not.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bodies import Bodies, SizeWH
from benchmarks.process import Contender, WorkerError, WorkerProcess
from benchmarks.rows import STAGES, STOCK, Row, measured

__all__ = ["Clicks", "Plan", "Say", "measure_clicks", "stock_contender"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: of the photographs.
        rounds: clicks of each kind on each photograph.
        warm_up: whether one more round comes before them, for a process's first of a size may
            still set memory aside.
        cold_starts: processes started of each contender, after one that is not counted: it writes
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
        rows: cold start, clicks and stages of each contender that started.
        started: those.
        refused: the others, and why.
    """

    rows: list[Row]
    started: list[Contender]
    refused: dict[Contender, str]


def measure_clicks(
    contenders: Sequence[Contender], plan: Plan, bodies: Bodies, *, say: Say
) -> Clicks:
    """Measure cold start, clicks and stages, all contenders in turns.

    Args:
        contenders: stock and ours.
        plan: how much.
        bodies: the requests.
        say: told what happens.
    """
    first = bodies.write(plan.sizes[0])
    with ExitStack() as stack:
        workers: dict[Contender, WorkerProcess] = {}
        starts: dict[Contender, list[float]] = defaultdict(list)
        names: dict[Contender, dict[str, str]] = {}
        refused: dict[Contender, str] = {}
        for turn in range(plan.cold_starts + 1):
            for contender in contenders:
                if contender in refused:
                    continue
                say(f"cold start of {contender.model}, {contender.engine} {contender.precision}")
                worker = stack.enter_context(WorkerProcess(contender))
                try:
                    reply = worker.ask("click", body=str(first))
                except WorkerError as error:
                    refused[contender] = str(error)
                    continue
                if turn > 0:
                    starts[contender].append((time.perf_counter() - worker.started) * 1e3)
                names[contender] = {key: str(reply[key]) for key in ("engine", "precision")}
                if contender in workers:
                    workers[contender].close()
                workers[contender] = worker
        rows = list(_rows(workers, starts, names, plan, bodies, say))
        return Clicks(rows, list(workers), refused)


def _rows(
    workers: Mapping[Contender, WorkerProcess],
    starts: Mapping[Contender, list[float]],
    names: Mapping[Contender, dict[str, str]],
    plan: Plan,
    bodies: Bodies,
    say: Say,
) -> Iterator[Row]:
    times = {size: _rounds(workers, size, plan, bodies, say) for size in plan.sizes}
    memory = {contender: worker.ask("memory") for contender, worker in workers.items()}
    stock = next((contender for contender in workers if contender.stock is not None), None)
    for contender in workers:
        fields: dict[str, Any] = {
            "model": contender.model,
            **names[contender],
            "note": contender.note,
            **memory[contender],
        }
        size = _name(plan.sizes[0])
        yield measured(
            starts[contender],
            stock=starts[stock] if stock else None,
            what="cold_start",
            image_size=size,
            **fields,
        )
        for sizes, found in times.items():
            for what, values in found[contender].items():
                yield measured(
                    values,
                    stock=found[stock][what] if stock else None,
                    what=what,
                    image_size=_name(sizes),
                    **fields,
                )


def _rounds(
    workers: Mapping[Contender, WorkerProcess], size: SizeWH, plan: Plan, bodies: Bodies, say: Say
) -> dict[Contender, dict[str, list[float]]]:
    """Milliseconds of first and next clicks and their stages, by contender."""
    requests = bodies.write(size, clicks=1), bodies.write(size, clicks=2)
    times: dict[Contender, dict[str, list[float]]] = {c: defaultdict(list) for c in workers}
    for turn in range(0 if plan.warm_up else 1, plan.rounds + 1):
        say(f"{_name(size)}: round {turn} of {plan.rounds}")
        for contender, worker in workers.items():
            found = times[contender]
            for prefix, request, forget in (("", requests[0], True), ("next_", requests[1], False)):
                reply = worker.ask("click", body=str(request), forget=forget)
                if not turn:
                    continue
                found["next_click" if prefix else "first_click"].append(reply["ms"])
                for stage in STAGES:
                    found[prefix + stage].append(reply["stages"][stage])
    return times


def _name(size: SizeWH) -> str:
    return f"{size[0]}x{size[1]}"


def stock_contender(weights: Path) -> Contender:
    """The baseline, with weights from ``benchmarks.weights``."""
    return Contender(STOCK, "torch", "fp32", stock=weights)
