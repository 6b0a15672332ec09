"""Many annotators at once: right answers, and a quick no where there is no time for one."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import builders
from tests.endurance.harness import FULL, figure, service
from tests.endurance.mixture import clicks

CLIENTS = 16
DIFFERENT = 24 if FULL else 12
EACH = 12 if FULL else 4


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [1, 2, 4] if FULL else [2])
def test_every_client_gets_the_answer_that_it_gets_alone(
    workers: int, small_model: Path, tmp_path: Path
) -> None:
    model = "iog-lite" if FULL else str(small_model)
    bodies = [json.dumps(clicks(seed)).encode() for seed in range(DIFFERENT)]
    arguments = ("--model", model, "--workers", str(workers))
    with service(tmp_path / "log", *arguments) as running:
        assert len(running.workers()) == workers
        alone = [running.post(body) for body in bodies]
        assert {answer.status_code for answer in alone} == {200}

        def work(client: int) -> tuple[int, list[float]]:
            times, wrong = [], 0
            for turn in range(EACH):
                which = (7 * client + turn) % DIFFERENT
                start = time.perf_counter()
                answer = running.post(bodies[which])
                while answer.status_code == 503:  # as it says: later
                    time.sleep(float(answer.headers["retry-after"]))
                    answer = running.post(bodies[which])
                times.append(time.perf_counter() - start)
                wrong += answer.content != alone[which].content
            return wrong, times

        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            done = list(pool.map(work, range(CLIENTS)))
        took = time.perf_counter() - start
    times = sorted(seconds for _, some in done for seconds in some)
    assert sum(wrong for wrong, _ in done) == 0
    figure(
        "concurrency",
        workers=workers,
        clients=CLIENTS,
        requests=len(times),
        per_second=round(len(times) / took, 1),
        p50_ms=round(times[len(times) // 2] * 1e3),
        p95_ms=round(times[int(0.95 * len(times))] * 1e3),
        p99_ms=round(times[int(0.99 * len(times))] * 1e3),
    )


def test_overload_is_answered_at_once_with_503(small_model: Path, tmp_path: Path) -> None:
    """More clients than one worker's queue holds, each with long work."""
    boxes = [[n, n, 40 + n, 36 + n] for n in range(16)]
    body = json.dumps(builders.body(obj_bbox=boxes, pos_points=[])).encode()
    clients = 48 if FULL else 24
    with service(tmp_path / "log", "--model", str(small_model), IOG_CACHE_MB="0") as running:
        start = time.perf_counter()
        one = running.post(body)
        assert one.status_code == 200
        alone = time.perf_counter() - start

        def ask(_: int) -> tuple[int, str, float]:
            start = time.perf_counter()
            answer = running.post(body)
            return (
                answer.status_code,
                answer.headers.get("retry-after", ""),
                time.perf_counter() - start,
            )

        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(ask, range(clients)))
        statuses = Counter(status for status, _, _ in answers)
        assert running.post(body).content == one.content
    assert set(statuses) == {200, 503}
    assert {after for status, after, _ in answers if status == 503} == {"1"}
    refused = [seconds for status, _, seconds in answers if status == 503]
    figure(
        "overload",
        clients=clients,
        answered=statuses[200],
        refused=statuses[503],
        request_alone_s=round(alone, 2),
        slowest_answer_s=round(max(s for status, _, s in answers if status == 200), 2),
        median_refusal_s=round(sorted(refused)[len(refused) // 2], 2),
    )
