"""Next clicks while other programs keep every core busy, with threads that sleep and that spin.

OpenMP's threads may wait for work by spinning, which is quickest on an idle machine. On a busy one
they take turns on the processor from the thread they wait for. ``OMP_WAIT_POLICY=PASSIVE`` lets
them sleep.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.bodies import Bodies
from benchmarks.clicks import Plan, Say
from benchmarks.process import Contender, WorkerProcess
from benchmarks.rows import Row, measured

__all__ = ["AS_IT_COMES", "PASSIVE", "busy_cores", "measure_busy"]

PASSIVE, AS_IT_COMES = "next_click_busy", "next_click_busy_spinning"
# It ends with the process that started it, however that ends.
_SPIN = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
while True:
    pass
"""


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep as many cores busy until the block ends."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            command = [sys.executable, "-c", _SPIN]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            stack.callback(process.kill)
        yield


def measure_busy(contender: Contender, plan: Plan, bodies: Bodies, *, say: Say) -> Iterator[Row]:
    """Measure torch with ``OMP_WAIT_POLICY=PASSIVE`` and without it, in turns.

    Args:
        contender: names the model.
        plan: how much.
        bodies: the requests.
        say: told what happens.
    """
    size = plan.sizes[0]
    first, second = (str(bodies.write(size, clicks=clicks)) for clicks in (1, 2))
    environment = {**contender.environment, "IOG_ENGINE": "torch", "IOG_PRECISION": "fp32"}
    # An empty value takes the variable away.
    policies = {PASSIVE: "PASSIVE", AS_IT_COMES: ""}
    times: dict[str, list[float]] = {what: [] for what in policies}
    with contextlib.ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        for what, policy in policies.items():
            mine = replace(contender, environment={**environment, "OMP_WAIT_POLICY": policy})
            workers[what] = stack.enter_context(WorkerProcess(mine, threads=plan.cores))
            workers[what].ask("click", body=first)
        memory = {what: worker.ask("memory") for what, worker in workers.items()}
        stack.enter_context(busy_cores(plan.cores))
        for turn in range(4 * plan.rounds + 1):
            say(f"next clicks of {contender.model} beside other programs: {turn}")
            for what, worker in workers.items():
                ms = worker.ask("click", body=second)["ms"]
                if turn:
                    times[what].append(ms)
    fields: dict[str, Any] = {
        "model": contender.model,
        "engine": "torch",
        "precision": "fp32",
        "image_size": f"{size[0]}x{size[1]}",
        "note": contender.note,
    }
    for what, found in times.items():
        yield measured(found, stock=None, what=what, **fields, **memory[what])
