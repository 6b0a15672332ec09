"""A worker: a process of its own that answers one call at a time, as each of Nuclio's is.

What a request does to its worker, the host survives: a worker that is killed (by the system when
memory runs out, by a decoder's defect) or that does not come back is replaced, and whoever waited
for it gets an answer. Calls and replies cross over as JSON and bytes.

Workers are started afresh and never forked: a copy of a process that has threads is a copy of their
locks (docs/adr/0009). None outlives its host, however the host ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from iog.serving.runtime import Call, Reply, Runtime, refusal

__all__ = ["CALL_SECONDS", "READY_SECONDS", "Worker", "WorkerProcess"]

CALL_SECONDS: Final = 60.0
"""Seconds a call may take, like ``eventTimeout`` in function.yaml."""
READY_SECONDS: Final = 300.0
"""Seconds a start may take, like ``readinessTimeoutSeconds`` in function.yaml."""
_PROGRESS_SECONDS: Final = 15.0
# How soon a start that waits sees that it is no longer wanted.
_LOOK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 0.5
# Between one failed start and the next: a machine that is short of memory needs some rest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0

_LOST = refusal(
    503,
    "worker_lost",
    "The worker died while it worked on this request, and is being replaced.",
    hint="Send it again; if that fails too, the image may need more memory than there is.",
)
_OVERDUE = refusal(
    408,
    "timed_out",
    "The request took too long, and its worker is being replaced.",
    hint="Send fewer boxes or a smaller image.",
)


_LOG: Final = logging.getLogger("iog")  # see iog.serving.logs.open_log
_SPAWN: Final = multiprocessing.get_context("spawn")
# multiprocessing keeps a list of its processes, which every start looks through: one at a time.
_PROCESSES: Final = threading.Lock()


class Worker(Protocol):
    """What the routes need of a worker."""

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What its function said of itself when it was ready."""

    @property
    def pid(self) -> int | None:
        """Its process's number, if there is one."""

    def submit(self, call: Call) -> Future[Reply]:
        """Answer a call; the result is always a reply."""

    def restart(self) -> Future[None]:
        """Replace it; done once it can take calls again."""


class WorkerProcess:
    """One worker process, and the thread of the host that talks to it.

    Args:
        number: tells workers apart in the log.
        module: holds ``init_context`` and ``handler``.
        call_seconds: how long a call may take before the process is killed.
        ready_seconds: how long a start may take before the process is killed.
    """

    def __init__(
        self,
        number: int = 0,
        *,
        module: str = "main",
        call_seconds: float = CALL_SECONDS,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._number = number
        self._module = module
        self._call_seconds = call_seconds
        self._ready_seconds = ready_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"worker-{number}")
        self._closing = threading.Event()
        self._ready = False
        self._about: dict[str, Any] = {}
        self._process: multiprocessing.context.SpawnProcess | None = None
        self._pipe: Connection | None = None

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return self._ready

    @property
    def about(self) -> Mapping[str, Any]:
        """What its function said of itself when it was ready."""
        return self._about

    @property
    def pid(self) -> int | None:
        """Its process's number, if there is one."""
        try:
            return None if self._process is None else self._process.pid
        except ValueError:  # the worker's thread has just closed it
            return None

    def start(self) -> Future[bool]:
        """Start the process; the result is whether it can take calls, the log says why not.

        The result is a `TimeoutError` with a sentence where the process takes too long.
        """
        return self._thread.submit(self._start, self._ready_seconds)

    def submit(self, call: Call) -> Future[Reply]:
        """Answer a call; the result is always a reply."""
        return self._thread.submit(self._answer, call)

    def restart(self) -> Future[None]:
        """Replace the process, again and again until one starts; done once it takes calls."""
        return self._thread.submit(self._restart)

    def close(self) -> None:
        """End the process, whatever it is doing; once more does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        stop = self._thread.submit(self._stop)
        try:
            stop.result(_CLOSE_SECONDS)
        except TimeoutError:  # busy; its thread goes on as soon as the pipe is broken
            self._kill()
        self._thread.shutdown()

    def _start(self, limit: float) -> bool:
        self._end()
        self._pipe, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_work, args=(theirs, self._module, self._number), daemon=True
        )
        with _PROCESSES:
            process.start()
        self._process = process
        theirs.close()  # so that the pipe breaks when the process ends
        try:
            self._ready = self._wait_ready(self._pipe, limit)
        except (EOFError, OSError) as error:
            self._ready = False
            if isinstance(error, TimeoutError):
                self._kill()
                raise
        return self._ready

    def _wait_ready(self, pipe: Connection, limit: float) -> bool:
        """Whether it can take calls; `TimeoutError` if that is not known in time."""
        start = time.monotonic()
        told = start
        while not pipe.poll(max(0.0, min(_LOOK_SECONDS, start + limit - time.monotonic()))):
            now = time.monotonic()
            if self._closing.is_set():
                return False
            if now - start >= limit:
                raise TimeoutError(
                    f"Worker {self._number} was not ready after {limit:g} s and was ended; is the "
                    "machine short of memory, or very busy?"
                )
            if now - told >= _PROGRESS_SECONDS:
                told = now
                _LOG.info(
                    "Worker %d is still loading the model, %.0f s ...", self._number, now - start
                )
        self._about = json.loads(pipe.recv_bytes())["ready"]
        return True

    def _restart(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set() and not self._started_again():
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _started_again(self) -> bool:
        """Whether it can take calls now; the log says why not."""
        try:
            return self._start(self._ready_seconds)
        except OSError as error:
            _LOG.warning("Worker %d cannot be replaced yet: %s", self._number, error)
            return False

    def _answer(self, call: Call) -> Reply:
        if self._process is None or not self._process.is_alive():
            # It died while it had nothing to do, so nothing is lost.
            with contextlib.suppress(OSError):
                self._start(min(self._call_seconds, self._ready_seconds))
        if self._pipe is None or not self._ready:
            return _LOST
        try:
            _send(self._pipe, call.header(), call.body)
            if not self._pipe.poll(self._call_seconds):
                self._kill()
                return _OVERDUE
            header, body = _receive(self._pipe)
        except (EOFError, OSError):
            self._ready = False
            return _LOST
        return Reply(body=body, **header)

    def _stop(self) -> None:
        """Let an idle process end by itself."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            self._process.join(_CLOSE_SECONDS)
        self._end()

    def _kill(self) -> None:
        self._ready = False
        if self._process is not None:
            with contextlib.suppress(ValueError):  # its own thread was faster
                self._process.kill()

    def _end(self) -> None:
        if self._process is not None:
            self._kill()
            with _PROCESSES:
                self._process.join()
                self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _send(pipe: Connection, header: object, body: bytes) -> None:
    pipe.send_bytes(json.dumps(header, default=str).encode())
    pipe.send_bytes(body)


def _receive(pipe: Connection) -> tuple[dict[str, Any], bytes]:
    return json.loads(pipe.recv_bytes()), pipe.recv_bytes()


def _work(pipe: Connection, module: str, number: int) -> None:
    """The whole life of the worker process."""
    threading.Thread(target=_end_with_host, name="end-with-host", daemon=True).start()
    # A terminal and a container's init signal the whole group: it is for the host to end this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    function = importlib.import_module(module)
    runtime = Runtime(function.init_context, function.handler, log=sys.stderr, number=number)
    try:
        about = runtime.start()
    except Exception:
        sys.exit(1)  # init_context has logged why
    try:
        pipe.send_bytes(json.dumps({"ready": about}, default=str).encode())
        while True:
            header, body = _receive(pipe)
            reply = runtime.answer(Call.of(header, body))
            _send(pipe, reply.header(), reply.body)
    except (EOFError, OSError):  # the host has closed the pipe, or is no more
        return


def _end_with_host() -> None:
    """End this process at once when its host is no more, whatever it is doing.

    The system tells, by closing the host's end of a pipe; so it is told of a killed host too.
    """
    host = multiprocessing.parent_process()
    assert host is not None  # this runs in workers only
    host.join()
    os._exit(1)
