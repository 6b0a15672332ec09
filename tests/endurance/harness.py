"""A real `iog serve` under load, and what it costs: CPU time, memory, descriptors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tests.random_weights import write_random_lite

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("IOG_ENDURANCE") == "full"
"""Whether to run the long form, as `make endurance` does."""
JSON = {"Content-Type": "application/json"}
# What would tell a stranger about this machine: tracebacks, files, the names of Python's objects.
_LEAKS = re.compile(r'Traceback|File \\?"|\.py\b|/site-packages|' + re.escape(str(ROOT)))


def figure(group: str, **values: object) -> None:
    """Note figures for the table of `docs/endurance.md`, where somebody collects them."""
    folder = os.environ.get("IOG_ENDURANCE_FIGURES")
    if folder:
        with (Path(folder) / "figures.jsonl").open("a") as file:
            file.write(json.dumps({"group": group, **values}) + "\n")


def write_small_model(path: Path) -> Path:
    """A checkpoint of iog-lite with random parameters and a frame of 64 pixels."""
    return write_random_lite(path, input_size=64)


@dataclass
class Service:
    """A running `iog serve`."""

    url: str
    host: psutil.Process
    client: httpx.Client
    log: Path

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live now."""
        return [child for child in self.host.children(recursive=True) if _is_worker(child)]

    def processes(self) -> list[psutil.Process]:
        """The host and its workers."""
        return [self.host, *self.workers()]

    def post(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        """Send a request; a dict as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/", content=content, headers=headers or JSON)

    def cpu_s(self, processes: Sequence[psutil.Process] | None = None) -> float:
        """CPU seconds of all its processes so far; given them, they need not be looked for."""
        return sum(sum(each.cpu_times()[:2]) for each in processes or self.processes())

    def rss(self) -> int:
        """Bytes resident in all its processes."""
        return sum(each.memory_info().rss for each in self.processes())

    def descriptors(self) -> int:
        """Open files and sockets of all its processes."""
        return sum(each.num_fds() for each in self.processes())

    def reset_peak(self) -> int:
        """Forget the peaks of memory; the bytes resident now."""
        for each in self.processes():
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")
        return self.rss()

    def peak(self) -> int:
        """Most bytes resident since `reset_peak`, of all processes together."""
        text = (Path(f"/proc/{each.pid}/status").read_text() for each in self.processes())
        return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", each)[0]) for each in text) * 1024

    def wait_alive(self, seconds: float = 120) -> None:
        """Wait until a worker can take requests again."""
        end = time.monotonic() + seconds
        while self.client.get("/health").status_code != 200:
            assert time.monotonic() < end, "no worker came back"
            time.sleep(0.05)


@contextmanager
def service(log: Path, *arguments: str, **environment: str) -> Iterator[Service]:
    """Run `iog serve` on a free port, on one CPU thread for each worker.

    Args:
        log: where its standard error goes.
        arguments: of `iog serve`.
        environment: settings, such as ``IOG_CACHE_MB``.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith("IOG_")}
    settings = {"IOG_THREADS": "1", "IOG_DEVICE": "cpu"}
    with log.open("w") as errors:
        process = _start(
            ["serve", "--port", "0", *arguments], errors, clean | settings | environment
        )
        assert process.stdout is not None
        with process.stdout:
            ready = re.match(r"Ready: (http://\S+)", process.stdout.readline())
            if ready is None:
                process.wait(30)
                raise AssertionError(log.read_text())
            limits = httpx.Limits(max_connections=None)
            with httpx.Client(
                base_url=ready[1], timeout=120, trust_env=False, limits=limits
            ) as client:
                host = psutil.Process(process.pid)
                started = host.children(recursive=True)
                try:
                    yield Service(ready[1], host, client, log)
                finally:
                    if host.is_running():
                        started = host.children(recursive=True)
                    process.send_signal(signal.SIGTERM)
                    process.wait(120)  # the machine may be busy
                    _, left = psutil.wait_procs(started, timeout=120)
                    assert not left, f"left behind: {left}"


def _start(
    arguments: Sequence[str], errors: IO[str], environment: dict[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "iog", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def _is_worker(process: psutil.Process) -> bool:
    """Whether multiprocessing started it to do some work."""
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except psutil.NoSuchProcess:  # dead, and not yet missed
        return False


def check_answer(answer: httpx.Response) -> None:
    """Whatever was sent: JSON, a status that fits, and nothing that gives this machine away."""
    assert answer.status_code in {200, 400, 409, 413, 415, 422}, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    if answer.status_code == 200:
        return
    error = content["error"]
    assert error.keys() == {"code", "message", "field", "hint"}
    assert not _LEAKS.search(answer.text), answer.text[:300]
