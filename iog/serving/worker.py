"""A worker: a process that answers one call at a time, as each of Nuclio's does.

The host survives whatever a request does to its worker. A worker that is killed (by the system
when memory runs out, by a defect of a library) or that takes too long is replaced, and its client
gets an answer. Calls and answers cross over as JSON and bytes.

Workers are started afresh and never forked: a copy of a process that has threads is a copy of their
locks (docs/adr/0009). None outlives its host, however the host ends.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from iog.serving.runtime import Answer, Call, Runtime, refusal

__all__ = ["CALL_SECONDS", "READY_SECONDS", "Worker"]

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

_Message = TypeVar("_Message", Call, Answer)


class Worker:
    """One worker process, and the thread of the host that talks to it.

    Args:
        number: tells workers apart in the log.
        function: the handler's address; ``init_context`` stands beside it.
        call_seconds: how long a call may take before the process is killed.
        ready_seconds: how long a start may take before the process is killed.
        named: whether its log lines have its number as the field ``worker``.
    """

    def __init__(
        self,
        number: int = 0,
        *,
        function: str = "main:handler",
        call_seconds: float = CALL_SECONDS,
        ready_seconds: float = READY_SECONDS,
        named: bool = False,
    ) -> None:
        self.restarts = 0
        """Processes lost so far, each of which is replaced."""
        self._number = number
        self._named = named
        self._function = function
        self._call_seconds = call_seconds
        self._ready_seconds = ready_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"worker-{number}")
        self._closing = threading.Event()
        self._ready = False
        self._about: dict[str, Any] = {}
        self._process: multiprocessing.context.SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._watch: threading.Thread | None = None
        self._tell: Callable[[], object] = bool

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

    def start(self) -> Future[str | None]:
        """Start the process.

        The result is None once it can take calls. If it cannot, the result is what the function
        has logged. The future raises `TimeoutError` with a sentence if the start takes too long.
        """
        return self._thread.submit(self._start, self._ready_seconds)

    def submit(self, call: Call) -> Future[Answer]:
        """Answer a call; the future raises nothing."""
        return self._thread.submit(self._answer, call)

    def when_lost(self, tell: Callable[[], object]) -> None:
        """Call ``tell``, in any thread, whenever the process has ended by itself, idle or not."""
        self._tell = tell
        if not self._ready:  # it has ended already
            tell()

    def restart(self, *, idle: bool = False) -> Future[None]:
        """Replace the process, again and again until one starts; done once it takes calls.

        Args:
            idle: it died while it had nothing to do; the log says so, as no request can.
        """
        return self._thread.submit(self._restart, idle=idle)

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

    def _start(self, limit: float) -> str | None:
        self._end()
        self._pipe, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_work, args=(theirs, self._function, self._number, self._named), daemon=True
        )
        with _PROCESSES:
            process.start()
        self._process = process
        theirs.close()  # so that the pipe breaks when the process ends
        try:
            self._await_start(self._pipe, limit)
            told: dict[str, Any] = json.loads(self._pipe.recv_bytes())
        except TimeoutError:
            self._kill()
            raise
        except (EOFError, OSError):
            return ""
        self._about = told.get("ready", {})
        if "ready" not in told:
            return str(told["failed"])
        self._ready = True
        self._watch = threading.Thread(
            target=self._await_end, args=(process.sentinel,), name="worker-watch", daemon=True
        )
        self._watch.start()
        return None

    def _await_end(self, sentinel: int) -> None:
        """Wait in a thread for the end of a process that was ready; note and tell it."""
        wait([sentinel])
        self._ready = False
        if not self._closing.is_set():
            self.restarts += 1
            with contextlib.suppress(RuntimeError):  # the loop that wants to know is closed
                self._tell()

    def _await_start(self, pipe: Connection, limit: float) -> None:
        """Return once the process has told how its start went.

        Raises:
            TimeoutError: that takes too long.
            EOFError: nobody waits for it any more.
        """
        start = told = time.monotonic()
        while not pipe.poll(max(0.0, min(_LOOK_SECONDS, start + limit - time.monotonic()))):
            now = time.monotonic()
            if self._closing.is_set():
                raise EOFError
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

    def _restart(self, *, idle: bool) -> None:
        if idle:
            self._say_idle()
        pause = _FIRST_PAUSE
        while not self._closing.is_set() and not self._replaced(self._ready_seconds):
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _say_idle(self) -> None:
        _LOG.warning("Worker %d died while idle and is being replaced.", self._number)

    def _replaced(self, limit: float) -> bool:
        """Whether it can take calls now; the log says why not."""
        try:
            told = self._start(limit)
        except OSError as error:
            _LOG.warning("Worker %d cannot be replaced yet: %s", self._number, error)
            return False
        sys.stderr.write(told or "")
        return told is None

    def _answer(self, call: Call) -> Answer:
        if self._process is None or not self._process.is_alive():
            # It died just now, while it had nothing to do, so nothing is lost.
            if self._process is not None:
                self._say_idle()
            self._replaced(min(self._call_seconds, self._ready_seconds))
        if self._pipe is None or not self._ready:
            return _LOST
        try:
            _send(self._pipe, call)
            if not self._pipe.poll(self._call_seconds):
                self._lose()
                return _OVERDUE
            return _receive(self._pipe, Answer)
        except (EOFError, OSError):
            self._lose()
            return _LOST

    def _lose(self) -> None:
        """End the process; its end is counted before the answer that tells of it."""
        self._kill()
        if self._watch is not None:
            self._watch.join(_CLOSE_SECONDS)

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
                if self._watch is not None:
                    self._watch.join()  # until then it needs what is closed here
                self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = self._watch = None


def _send(pipe: Connection, message: Call | Answer) -> None:
    """Send the body apart, as bytes: it would double in JSON."""
    rest = {name: value for name, value in vars(message).items() if name != "body"}
    pipe.send_bytes(json.dumps(rest, default=str).encode())
    pipe.send_bytes(message.body)


def _receive(pipe: Connection, kind: type[_Message]) -> _Message:
    rest = json.loads(pipe.recv_bytes())
    return kind(pipe.recv_bytes(), **rest)


def _work(pipe: Connection, address: str, number: int, named: bool) -> None:
    """The whole life of the worker process."""
    threading.Thread(target=_end_with_host, name="end-with-host", daemon=True).start()
    # A terminal and a container's init signal the whole group: the host decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name, _, handler = address.partition(":")
    module = importlib.import_module(name)
    # All workers fail for the same reason, so the host gets the lines and shows them once.
    lines = io.StringIO()
    runtime = Runtime(
        module.init_context, getattr(module, handler), log=lines, number=number, named=named
    )
    told: dict[str, object]
    try:
        told = {"ready": runtime.start()}
    except Exception:
        told = {"failed": lines.getvalue() or traceback.format_exc()}
    else:
        sys.stderr.write(lines.getvalue())
        sys.stderr.flush()
        runtime.log_to(sys.stderr)
    try:
        pipe.send_bytes(json.dumps(told, default=str).encode())
        while "ready" in told:
            _send(pipe, runtime.answer(_receive(pipe, Call)))
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
