"""What is measured, and the processes that run it, as the measuring process sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.inputs import random_checkpoint
from iog.settings import Settings

__all__ = [
    "RANDOM",
    "Address",
    "BenchWorker",
    "Memory",
    "Say",
    "Served",
    "Subject",
    "WorkerError",
    "busy_cores",
    "memory_of",
    "send",
    "subjects_of",
]

_ROOT = Path(__file__).parent.parent
Say = Callable[[str], None]
"""Is told what is being measured."""
Address = tuple[str, int]
"""Host and port."""
# It ends with the process that started it, however that ends.
_SPIN = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
while True:
    pass
"""
Memory = dict[str, float | None]
RANDOM = "random weights"


class WorkerError(RuntimeError):
    """A worker cannot start, or cannot answer; the message is its own sentence."""


@dataclass(frozen=True)
class Subject:
    """What is measured: the stock function, or ours with some settings.

    Attributes:
        model: name in the results.
        engine: ``IOG_ENGINE``; of stock, what it is.
        precision: ``IOG_PRECISION``; likewise.
        stock: the weights of the stock function; None for ours.
        environment: variables for ours; an empty one is taken away.
        note: what the results must say of it.
    """

    model: str
    engine: str
    precision: str
    stock: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = ""

    def __str__(self) -> str:
        """For people: model, engine and precision."""
        return f"{self.model}, {self.engine} {self.precision}"


class BenchWorker:
    """One process of `benchmarks.worker`.

    Args:
        subject: what it runs.
        threads: CPU threads, ``IOG_THREADS``; None for the default.
    """

    def __init__(self, subject: Subject, *, threads: int | None = None) -> None:
        self.started = time.perf_counter()
        arguments = [] if subject.stock is None else ["--stock", str(subject.stock)]
        changed = {**os.environ, **subject.environment}
        environment = {name: value for name, value in changed.items() if value}
        if threads is not None:
            environment["IOG_THREADS"] = str(threads)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *arguments],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, do: str, **command: object) -> dict[str, Any]:
        """Send a command and wait for the reply.

        Raises:
            WorkerError: the worker has ended, or says why it cannot.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the line below is empty
            print(json.dumps({"do": do, **command}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the worker ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(str(reply["error"]))
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.communicate()  # the end of its stdin ends it

    def __enter__(self) -> BenchWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep as many cores busy until the block ends."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            command = [sys.executable, "-c", _SPIN]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            stack.callback(process.kill)
        yield


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


class Served:
    """A running `iog serve` on a free port of this machine, until `close`.

    Args:
        workers: how many.
        environment: its settings.

    Raises:
        RuntimeError: it did not start.
    """

    def __init__(self, *, workers: int, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "iog", "serve", "--port", "0", "--workers", str(workers)],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            self.close()
            raise RuntimeError("A server did not start; try `iog serve`.")
        self.address: Address = found[1], int(found[2])

    def memory(self) -> Memory:
        """Memory of the host and the processes it started; see `memory_of`."""
        parents: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                # The name before the last bracket may hold anything.
                parent = path.read_text().rpartition(")")[2].split()[1]
                parents[int(path.parent.name)] = int(parent)
        family = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return memory_of(family)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()


def memory_of(processes: Iterable[int | str]) -> Memory:
    """Mebibytes of processes together, by their numbers or ``self``.

    ``rss_mb`` counts what they share for each of them, ``pss_mb`` once. Both are None where the
    system does not tell, which is anywhere but on Linux.
    """
    totals = {"Rss": 0.0, "Pss": 0.0}
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return {"rss_mb": None, "pss_mb": None}
        for line in lines:
            name, _, size = line.partition(":")
            if name in totals:
                totals[name] += int(size.split()[0]) / 1024
    return {"rss_mb": round(totals["Rss"], 1), "pss_mb": round(totals["Pss"], 1)}


def subjects_of(
    model: str,
    *,
    engines: Sequence[str],
    precisions: Sequence[str],
    settings: Settings,
    folder: Path,
) -> Iterator[Subject]:
    """One subject for each engine and precision.

    A model of the table whose weights are not here is measured with random ones of the same size,
    for they take the same time; its note says so.

    Args:
        model: a name or path of weights.
        engines: values of ``IOG_ENGINE``.
        precisions: values of ``IOG_PRECISION``.
        settings: where weights are looked for.
        folder: for files that are made.

    Raises:
        WeightsError: there is no such model.
    """
    from iog.models.spec import REGISTRY, locate, resolve

    name, weights, note = model, model, ""
    if model in REGISTRY and locate(model, weights_dir=settings.weights_dir) is None:
        path = folder / f"{model}-random.pt"
        random_checkpoint(REGISTRY[model].architecture, path)
        weights, note = str(path), RANDOM
    else:
        spec = resolve(model, weights_dir=settings.weights_dir)
        name, weights = spec.name, model if model in REGISTRY else str(spec.path)
    for engine in engines:
        for precision in precisions:
            environment = {
                "IOG_MODEL": weights,
                "IOG_WEIGHTS_SHA256": "",
                "IOG_ENGINE": engine,
                "IOG_PRECISION": precision,
            }
            yield Subject(name, engine, precision, environment=environment, note=note)
