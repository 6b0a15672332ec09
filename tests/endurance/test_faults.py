"""What breaks around a running server: its worker, its weights, the order to stop, the clock."""

from __future__ import annotations

import io
import json
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

import main
from iog.errors import WeightsError
from iog.serving.runtime import Call, Runtime
from iog.settings import Settings
from model_handler import ModelHandler
from tests import builders
from tests.endurance.harness import FULL, ROOT, Service, figure, service
from tests.endurance.sending import connect

PHOTO = (ROOT / "examples" / "astronaut.jpg").read_bytes()
SIXTEEN_BOXES = builders.body(
    PHOTO, obj_bbox=[[10 * n, 10 * n, 200 + 10 * n, 200 + 10 * n] for n in range(16)], pos_points=[]
)
SHORT = builders.body(PHOTO, obj_bbox=[[5, 4], [370, 512]], pos_points=[[190, 320]], output="rle")


@contextmanager
def in_the_middle(running: Service) -> Iterator[Future[httpx.Response]]:
    """Sends a long request; inside the block the worker is busy with it."""
    (worker,) = running.workers()
    before = sum(worker.cpu_times()[:2])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.post, SIXTEEN_BOXES)
        while sum(worker.cpu_times()[:2]) < before + 0.2:
            assert not answer.done(), "the request was over too soon"
            time.sleep(0.01)
        yield answer


def test_a_killed_host_leaves_nothing_behind(tmp_path: Path) -> None:
    with service(tmp_path / "log", "--workers", "2") as running:
        assert len(running.workers()) == 2
        started = running.host.children(recursive=True)
        running.host.kill()
        _, left = psutil.wait_procs(started, timeout=10)
        assert not left


def test_a_killed_worker_is_replaced_and_an_order_to_stop_obeyed(tmp_path: Path) -> None:
    with service(tmp_path / "log") as running:
        expected = running.post(SHORT).json()
        (worker,) = running.workers()
        with in_the_middle(running) as answer:
            worker.kill()
            lost_at = time.monotonic()
            lost = answer.result(60)
            answered = time.monotonic() - lost_at
        running.wait_alive()
        after = running.post(SHORT)
        back = time.monotonic() - lost_at
        assert lost.status_code == 503
        assert lost.json()["error"]["code"] == "worker_lost"
        assert after.status_code == 200
        assert after.json() == expected

        with in_the_middle(running) as answer:
            stopped_at = time.monotonic()
            running.host.send_signal(signal.SIGTERM)
            last = answer.result(60)
            psutil.wait_procs([running.host], timeout=30)
            took = time.monotonic() - stopped_at
        assert last.status_code in (200, 503)
        assert not running.host.is_running()
    figure(
        "faults",
        fault="worker killed in the middle of a request",
        outcome="503 with Retry-After to its sender, worker replaced, next answer as before",
        seconds={"until the 503": round(answered, 2), "until the next answer": round(back, 2)},
    )
    figure(
        "faults",
        fault="SIGTERM during a request",
        outcome=f"answered with {last.status_code}, then exit",
        seconds={"until the end": round(took, 2)},
    )
    assert "Stopped." in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


@pytest.mark.skipif(not FULL, reason="make endurance: it starts five workers")
def test_weights_that_change_under_a_running_server(small_model: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    shutil.copyfile(small_model, weights)
    body = builders.body(output="rle")
    with service(tmp_path / "log", "--model", str(weights), IOG_CACHE_MB="0") as running:
        expected = running.post(body).json()

        # Replaced as a careful program does it: what runs goes on with the old file.
        (tmp_path / "new.pt").write_bytes(b"nothing")
        (tmp_path / "new.pt").replace(weights)
        assert running.post(body).json() == expected
        shutil.copyfile(small_model, tmp_path / "new.pt")
        (tmp_path / "new.pt").replace(weights)
        figure(
            "faults",
            fault="weights replaced under a running server",
            outcome="it goes on with the old ones",
        )

        # Cut off in place: the pages of the mapped file are gone, and a new worker cannot start.
        (worker,) = running.workers()
        worker.kill()
        running.post(body)
        with weights.open("r+b") as file:
            file.truncate(1000)
        statuses = {running.post(body).status_code for _ in range(3)}
        assert statuses <= {200, 503}
        for child in running.workers():
            child.kill()
        refused = running.post(body)
        assert refused.status_code == 503
        assert running.client.get("/health").status_code == 503
        shutil.copyfile(small_model, weights)
        running.wait_alive()
        assert running.post(body).json() == expected
        figure(
            "faults",
            fault="weights truncated under a running server",
            outcome="503, also of /health, until the file is whole again; then answers as before",
        )
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("kind", ["truncated", "empty", "a folder", "missing", "a web page"])
def test_a_server_does_not_start_with_weights_it_cannot_use(
    small_model: Path, tmp_path: Path, kind: str
) -> None:
    weights = tmp_path / "model.pt"
    match kind:
        case "truncated":
            weights.write_bytes(small_model.read_bytes()[:-1000])
        case "empty":
            weights.touch()
        case "a folder":
            weights.mkdir()
        case "a web page":
            weights.write_text("<html>Quota exceeded</html>")
    with pytest.raises(WeightsError) as caught:
        ModelHandler(Settings(model=str(weights), device="cpu", threads=1))
    assert "\n" not in str(caught.value)
    figure("faults", fault=f"start with weights that are {kind}", outcome="one sentence, exit 1")


def test_a_clock_that_jumps_changes_no_answer(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_MODEL", str(small_model))
    monkeypatch.setenv("IOG_THREADS", "1")
    log = io.StringIO()
    runtime = Runtime(main.init_context, main.handler, log=log)
    runtime.start()
    body = json.dumps(builders.body(output="rle")).encode()
    now, answers = time.time(), []
    for jump in (0, -10 * 365 * 86400, 3600, -now, 10 * 365 * 86400):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        answers.append(runtime.answer(Call(body)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert all(0 <= answer.report["total_ms"] < 60_000 for answer in answers)
    figure(
        "faults", fault="clock jumps by ten years, both ways", outcome="same answers, same times"
    )


def test_a_client_that_goes_away_frees_its_worker(small_service: Service) -> None:
    body = b'{"image": "' + b"A" * 100_000
    for _ in range(20):
        with connect(small_service.url) as connection:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * len(body))
            connection.sendall(head + body)
    assert small_service.post(builders.body()).status_code == 200
