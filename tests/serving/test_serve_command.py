"""`iog serve`, from its first process to its last: what it says, and that nothing stays."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from iog import cli
from iog.serving import worker
from tests.serving.conftest import WAIT

ROOT = Path(cli.__file__).parents[2]


def serve() -> subprocess.Popen[str]:
    settings = {"IOG_DEVICE": "cpu", "IOG_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "iog", "serve", "--port", "0", "--workers", "2"],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def descendants() -> set[psutil.Process]:
    """All workers below this process."""
    found = psutil.Process().children(recursive=True)
    return {each for each in found if any("spawn_main" in word for word in each.cmdline())}


def family(host: subprocess.Popen[str], *, until: Callable[[int], bool]) -> list[psutil.Process]:
    """All processes that the host has started, once there are enough."""
    while not until(len(found := psutil.Process(host.pid).children(recursive=True))):
        assert host.poll() is None
        time.sleep(0.01)
    return found


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that live on; they are killed."""
    _, left = psutil.wait_procs(processes, timeout=WAIT)
    for process in left:
        process.kill()
    return left


def test_a_model_that_takes_too_long_to_load_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOY_HANGS", "1")
    toy = functools.partial(worker.Worker, function="tests.serving.toy:handler", ready_seconds=0.3)
    monkeypatch.setattr(worker, "Worker", toy)
    before, children = signal.getsignal(signal.SIGTERM), descendants()

    result = CliRunner().invoke(cli.app, ["serve", "--port", "0", "--workers", "2"])

    assert result.exit_code == 1
    assert result.stdout == ""
    (loading, sentence) = result.stderr.splitlines()
    assert loading.endswith("Loading the model ...")
    assert re.fullmatch(
        r"Error: Worker [01] was not ready after 0\.3 s and was ended; is the machine short of "
        r"memory, or very busy\?",
        sentence,
    )
    assert signal.getsignal(signal.SIGTERM) == before
    assert not descendants() - children


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("processes", [1, 3])
def test_an_order_to_stop_while_the_model_loads_is_obeyed(
    number: signal.Signals, processes: int
) -> None:
    with serve() as host:
        started = family(host, until=lambda count: count >= processes)
        host.send_signal(number)
        _, log = host.communicate(timeout=WAIT)

        assert host.returncode == 0
        assert log.splitlines()[-1].endswith(" Stopped.")
        assert "Traceback" not in log
    assert not left_of(started)


@pytest.mark.parametrize("ready", [False, True])
def test_a_killed_host_leaves_no_process(ready: bool) -> None:
    with serve() as host:
        assert host.stdout is not None
        if ready:
            assert host.stdout.readline().startswith("Ready: ")
        started = family(host, until=lambda count: count == 3)  # with multiprocessing's tracker
        host.kill()
        assert not left_of(started)
