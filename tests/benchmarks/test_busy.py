from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

import benchmarks
from benchmarks.processes import BenchWorker, Subject, busy_cores

ROOT = Path(benchmarks.__file__).parents[1]


def test_other_programs_are_busy_until_the_block_ends() -> None:
    before = set(psutil.Process().children())
    with busy_cores(2):
        started = set(psutil.Process().children()) - before
        assert len(started) == 2
        while not all(sum(each.cpu_times()[:2]) > 0.1 for each in started):
            pass
    assert not any(each.is_running() for each in started)


def test_other_programs_end_with_a_killed_bench() -> None:
    code = "import time\nfrom benchmarks.processes import busy_cores\n"
    code += "with busy_cores(2):\n    print('now', flush=True)\n    time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == b"now\n"
        started = psutil.Process(bench.pid).children()
        bench.kill()
    _, left = psutil.wait_procs(started, timeout=60)
    for process in left:
        process.kill()
    assert len(started) == 2
    assert not left


def test_an_empty_variable_is_taken_away_from_a_worker() -> None:
    environment = {"OMP_WAIT_POLICY": "", "IOG_ENGINE": "torch"}
    with BenchWorker(Subject("m", "torch", "fp32", environment=environment)):
        (worker,) = (
            each for each in psutil.Process().children() if "benchmarks.worker" in each.cmdline()
        )
        assert "OMP_WAIT_POLICY" not in worker.environ()
        assert worker.environ()["IOG_ENGINE"] == "torch"
