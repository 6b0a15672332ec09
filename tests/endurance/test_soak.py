"""Many requests, one after the other: what the server holds at the end it held at the beginning."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import pytest

from tests.endurance.harness import FULL, figure, service
from tests.endurance.mixture import day

MANY, WARM = (5000, 500) if FULL else (240, 80)
# Shortly after the start, memory still settles by a few allocations.
MOST_GROWTH = 0.05 if FULL else 0.15


@pytest.mark.timeout(1800)
def test_memory_and_descriptors_stay_what_they_are(small_model: Path, tmp_path: Path) -> None:
    cache = "16" if FULL else "4"  # full long before memory is measured for the first time
    model = "iog-lite" if FULL else str(small_model)
    seconds: list[float] = []
    with service(tmp_path / "log", "--model", model, IOG_CACHE_MB=cache) as running:
        workers = [worker.pid for worker in running.workers()]
        for number, (body, headers) in enumerate(day(MANY)):
            if number == WARM:
                rss, descriptors = running.rss(), running.descriptors()
            start = time.perf_counter()
            answer = running.client.post("/", content=body, headers=headers)
            seconds.append(time.perf_counter() - start)
            assert answer.status_code in {200, 400, 409, 413, 415, 422}, answer.text[:300]
        grown, opened = running.rss() / rss - 1, running.descriptors() - descriptors
        assert [worker.pid for worker in running.workers()] == workers
        part = MANY // 5
        figure(
            "soak",
            requests=MANY,
            rss_mb_then=rss // 10**6,
            rss_mb_end=running.rss() // 10**6,
            growth=round(grown, 4),
            descriptors_then=descriptors,
            descriptors_end=descriptors + opened,
            first_ms=_percentiles(seconds[:part]),
            last_ms=_percentiles(seconds[-part:]),
        )
    assert grown < MOST_GROWTH, f"{grown:.1%}"
    assert opened <= 0


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": round(median(ordered) * 1e3, 1),
        "p95": round(ordered[int(0.95 * len(ordered))] * 1e3, 1),
        "p99": round(ordered[int(0.99 * len(ordered))] * 1e3, 1),
    }
