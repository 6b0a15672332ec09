"""Worker processes, as the measuring process sees them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Contender", "WorkerError", "WorkerProcess"]

_ROOT = Path(__file__).parent.parent


class WorkerError(RuntimeError):
    """A worker cannot start, or cannot answer; the message is its own sentence."""


@dataclass(frozen=True)
class Contender:
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


class WorkerProcess:
    """One process of `benchmarks.worker`.

    Args:
        contender: what it runs.
        threads: CPU threads, ``IOG_THREADS``; None for the default.
    """

    def __init__(self, contender: Contender, *, threads: int | None = None) -> None:
        self.started = time.perf_counter()
        arguments = [] if contender.stock is None else ["--stock", str(contender.stock)]
        changed = {**os.environ, **contender.environment}
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
        self.send(do, **command)
        return self.receive()

    def send(self, do: str, **command: object) -> None:
        """Send a command; the worker may have ended by then, which `receive` tells."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": do, **command}), file=self._process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """Wait for the reply to the command sent; errors as of `ask`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the worker ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(str(reply["error"]))
        return reply

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
