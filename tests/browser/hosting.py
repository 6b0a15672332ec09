"""A real `iog serve` that a test may stop, start again, and take the worker of."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
import psutil

from tests.conftest import ROOT

_WAIT = 120.0


class Host:
    """`iog serve` on one port of this machine.

    Args:
        environment: all its variables.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._port = "0"
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, again on the port that it had; returns once it takes requests."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "iog", "serve", "--port", self._port],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        ready = re.match(r"Ready: \S+:(\d+)", self._process.stdout.readline())
        assert ready is not None
        self._port = ready[1]

    def stop(self) -> None:
        """End it as Ctrl-C does; once more does nothing."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=_WAIT)
        self._process = None

    def worker(self) -> psutil.Process:
        """The process that answers requests."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        (worker,) = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
        return worker

    def kill_worker(self) -> None:
        """Kill the worker; the host replaces it by itself."""
        self.worker().kill()

    def replace_worker(self) -> None:
        """Kill the worker, and wait until its successor takes requests."""
        before = self._metric("iog_worker_restarts")
        self.kill_worker()
        _wait_for(lambda: self._metric("iog_worker_restarts") > before and self._healthy())

    @contextmanager
    def worker_held(self) -> Iterator[None]:
        """Until the block ends, the worker does not move; its requests wait."""
        worker = self.worker()
        worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many are received or answered at once."""
        _wait_for(lambda: self._metric("iog_requests_in_flight") >= count)

    def _healthy(self) -> bool:
        return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200

    def _metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found[1])


def _wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
