"""Starts of `iog serve` with two workers on a busy machine: none hangs, none leaves a process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.processes import busy_cores
from iog.settings import available_cores
from tests.endurance.harness import FULL, figure, service

STARTS = {"auto": 160, "torch": 40} if FULL else {"auto": 10}
AT_ONCE = 5  # so that they are one another's load


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", STARTS)
def test_every_start_is_ready_and_leaves_nothing_behind(engine: str, tmp_path: Path) -> None:
    count = STARTS[engine]

    def start(number: int) -> float:
        begin = time.monotonic()
        with service(tmp_path / f"log{number}", "--workers", "2", IOG_ENGINE=engine) as running:
            took = time.monotonic() - begin
            assert len(running.workers()) == 2
            assert running.client.get("/health").status_code == 200
        return took

    with busy_cores(available_cores() if FULL else 0), ThreadPoolExecutor(AT_ONCE) as pool:
        times = sorted(pool.map(start, range(count)))
    assert len(times) == count
    figure(
        "starts",
        engine=engine,
        starts=count,
        median_s=round(times[count // 2], 1),
        slowest_s=round(times[-1], 1),
    )
