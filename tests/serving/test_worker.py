"""Worker processes: what they survive, and what survives them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from iog.serving import server as hosting
from iog.serving import worker as worker_module
from iog.serving.app import create_app
from iog.serving.pool import Pool
from iog.serving.runtime import Call
from iog.serving.server import Server, address, bind
from iog.serving.worker import CALL_SECONDS, Worker
from tests.serving.conftest import WAIT

ROOT = Path(__file__).parents[2]
TOY = "tests.serving.toy:handler"
Start = Callable[..., Worker]


@pytest.fixture
def start() -> Iterator[Start]:
    workers: list[Worker] = []

    def starter(*, number: int = 0, call_seconds: float = CALL_SECONDS) -> Worker:
        worker = Worker(number, function=TOY, call_seconds=call_seconds)
        workers.append(worker)
        assert worker.start().result(WAIT) is None
        return worker

    yield starter
    for worker in workers:
        worker.close()


def ask(worker: Worker, told: bytes) -> tuple[int, str]:
    answer = worker.submit(Call(told)).result(WAIT)
    return answer.status, answer.body.decode()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def is_gone_soon(pid: int) -> bool:
    while not gone(pid):
        time.sleep(0.01)
    return True


def test_a_call_is_answered_in_another_process(start: Start) -> None:
    worker = start(number=3)

    answer = worker.submit(Call(b"", {"x-sent": "é".encode().decode("latin-1")})).result(WAIT)

    assert answer.status == 201
    assert answer.body.decode() == str(worker.pid) != str(os.getpid())
    assert answer.headers == {"X-Worker": "3", "X-Sent": "é"}
    assert answer.report == {"calls": 1}
    assert worker.about == {"model": "toy", "pid": worker.pid}
    assert worker.alive


def test_large_bodies_cross_over_unharmed(start: Start) -> None:
    large = b"x" * 30_000_000

    assert ask(start(), large) == (201, large.decode())


def test_a_worker_that_dies_in_a_call_is_an_answer_and_can_be_replaced(start: Start) -> None:
    worker = start()
    first = worker.pid

    status, body = ask(worker, b"die")

    assert status == 503
    assert "worker_lost" in body
    assert not worker.alive
    worker.restart().result(WAIT)
    assert ask(worker, b"") == (201, str(worker.pid))
    assert worker.pid != first


def test_a_worker_that_died_while_idle_costs_nobody_an_answer(start: Start) -> None:
    worker = start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    while worker.alive:  # a process whose threads still end can be a zombie already
        time.sleep(0.01)

    assert ask(worker, b"") == (201, str(worker.pid))
    assert worker.restarts == 1


def test_a_call_without_end_is_ended(start: Start) -> None:
    worker = start(call_seconds=0.3)
    first = worker.pid

    status, body = ask(worker, b"sleep")

    assert status == 408
    assert "timed_out" in body
    assert not worker.alive
    worker._call_seconds = WAIT
    worker.restart().result(WAIT)
    assert ask(worker, b"") == (201, str(worker.pid))
    assert first is not None
    assert gone(first)


def test_a_worker_that_cannot_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = tmp_path / "needed"
    monkeypatch.setenv("TOY_NEEDS", str(needed))
    worker = Worker(function=TOY)
    try:
        failure = worker.start().result(WAIT)
        assert failure is not None
        assert "RuntimeError: not yet" in failure
        assert not worker.alive
        again = worker.restart()
        needed.touch()
        again.result(WAIT)
        assert ask(worker, b"") == (201, str(worker.pid))
    finally:
        worker.close()


def test_signals_to_the_group_are_left_to_the_host(start: Start) -> None:
    worker = start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)

    assert ask(worker, b"") == (201, str(worker.pid))


def test_workers_have_the_environment_of_their_start(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SAYS", "set just now")

    assert ask(start(), b"environment") == (201, "set just now")


def test_a_start_that_hangs_is_ended_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_HANGS", "1")
    worker = Worker(7, function=TOY, ready_seconds=0.3)
    try:
        with pytest.raises(
            TimeoutError, match=r"^Worker 7 was not ready after 0.3 s and was ended"
        ):
            worker.start().result(WAIT)
        assert not worker.alive
        assert worker.pid is not None
        assert is_gone_soon(worker.pid)
        assert ask(worker, b"")[0] == 503  # after one more start that hangs
    finally:
        worker.close()


def test_a_replacement_that_hangs_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOY_HANGS", "1")
    worker = Worker(function=TOY, ready_seconds=0.5)
    try:
        again = worker.restart()
        while "cannot be replaced yet: Worker 0 was not ready after 0.5 s" not in caplog.text:
            time.sleep(0.01)
        monkeypatch.delenv("TOY_HANGS")
        worker._ready_seconds = WAIT
        again.result(WAIT)
        assert ask(worker, b"") == (201, str(worker.pid))
    finally:
        worker.close()


def test_a_long_start_says_how_long_it_has_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="iog")
    monkeypatch.setattr(worker_module, "_PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(worker_module, "_LOOK_SECONDS", 0.1)
    monkeypatch.setenv("TOY_HANGS", "1")
    worker = Worker(3, function=TOY)
    try:
        started = worker.start()
        while "Worker 3 is still loading the model" not in caplog.text:
            time.sleep(0.01)
    finally:
        worker.close()
    assert started.result(WAIT) == ""


def test_closing_ends_a_start_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_HANGS", "1")
    worker = Worker(function=TOY)
    started = worker.start()
    while worker.pid is None:
        time.sleep(0.01)

    worker.close()

    assert started.result(WAIT) == ""
    assert worker.pid is None


HOST = f"""
import sys, time
from iog.serving.runtime import Call
from iog.serving.worker import Worker

if __name__ == "__main__":
    workers = [Worker(number, function={TOY!r}) for number in range(2)]
    starts = [worker.start() for worker in workers]
    if sys.argv[1] == "loading":
        while not all(worker.pid for worker in workers):
            time.sleep(0.01)
    else:
        assert not any(start.result({WAIT}) for start in starts)
        for worker in workers:
            worker.submit(Call(sys.argv[1].encode()))
    print("now", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("doing", ["loading", "sleep", "spin", "idle"])
def test_no_process_outlives_a_killed_host(doing: str, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if doing == "loading":
        environment["TOY_HANGS"] = "1"
    host = subprocess.Popen(
        [sys.executable, tmp_path / "host.py", doing],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with host:
        assert host.stdout is not None
        assert host.stdout.readline() == "now\n"
        started = psutil.Process(host.pid).children(recursive=True)
        host.kill()
    assert len(started) >= 2
    _, left = psutil.wait_procs(started, timeout=WAIT)
    for process in left:
        process.kill()
    assert not left


@pytest.mark.parametrize("told", [b"", b"sleep"])
def test_closing_ends_the_process_whatever_it_does(start: Start, told: bytes) -> None:
    worker = start()
    pid = worker.pid
    assert pid is not None
    worker.submit(Call(told))
    time.sleep(0.2)

    worker.close()

    assert gone(pid)


def test_who_waits_when_the_time_to_finish_is_over_gets_an_answer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "_SHUTDOWN_SECONDS", 1)
    worker = start()
    listener = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = Server(create_app(Pool([worker])), listener, on_ready=ready.set)
    serving = threading.Thread(target=server.run_until_stopped)
    serving.start()
    assert ready.wait(WAIT)
    answers: list[httpx.Response] = []
    url = address(listener)
    with httpx.Client(base_url=url, timeout=WAIT, trust_env=False) as client:
        waiting = threading.Thread(
            target=lambda: answers.append(client.post("/", content=b"sleep"))
        )
        waiting.start()
        while "in_flight 1.0" not in httpx.get(f"{url}/metrics", trust_env=False).text:
            time.sleep(0.01)
        server.should_exit = True
        serving.join(WAIT)
        waiting.join(WAIT)

    assert not serving.is_alive()
    assert [answer.status_code for answer in answers] == [503]
    assert answers[0].json()["error"]["code"] == "stopping"


def test_a_server_replaces_workers_that_die_while_idle(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [start(number=0), start(number=1)]
    first = [worker.pid for worker in workers]
    listener = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = Server(create_app(Pool(workers)), listener, on_ready=ready.set)
    serving = threading.Thread(target=server.run_until_stopped)
    serving.start()
    assert ready.wait(WAIT)
    with httpx.Client(base_url=address(listener), timeout=WAIT, trust_env=False) as client:
        assert first[0] is not None
        os.kill(first[0], signal.SIGKILL)
        end = time.monotonic() + WAIT
        while workers[0].restarts == 0 or not workers[0].alive:
            assert time.monotonic() < end
            time.sleep(0.01)
        health = client.get("/health")
        metrics = client.get("/metrics").text
        answered = {client.post("/", content=b"").text for _ in range(4)}
    server.should_exit = True
    serving.join(WAIT)

    assert health.status_code == 200
    assert "iog_worker_restarts 1.0" in metrics
    assert "iog_workers 2.0" in metrics
    assert caplog.text.count("Worker 0 died while idle and is being replaced.") == 1
    assert caplog.text.count("is being replaced") == 1
    assert answered == {str(worker.pid) for worker in workers}
    assert first[1] == workers[1].pid


def turns(client: httpx.Client, status: int) -> bool:
    """Whether /health gets this status in time."""
    end = time.monotonic() + WAIT
    while client.get("/health").status_code != status:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_server_without_a_living_worker_is_not_healthy(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = start()
    listener = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = Server(create_app(Pool([worker])), listener, on_ready=ready.set)
    serving = threading.Thread(target=server.run_until_stopped)
    needed = tmp_path / "needed"
    monkeypatch.setenv("TOY_NEEDS", str(needed))  # no worker starts until this file is there
    serving.start()
    assert ready.wait(WAIT)
    with httpx.Client(base_url=address(listener), timeout=WAIT, trust_env=False) as client:
        assert client.get("/health").status_code == 200
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert turns(client, 503)
        needed.touch()
        assert turns(client, 200)
        assert "iog_worker_restarts 1.0" in client.get("/metrics").text
    server.should_exit = True
    serving.join(WAIT)
    assert not serving.is_alive()


def test_a_server_replaces_its_worker_by_itself(start: Start) -> None:
    worker = start()
    listener = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = Server(create_app(Pool([worker])), listener, on_ready=ready.set)
    serving = threading.Thread(target=server.run_until_stopped)
    serving.start()
    assert ready.wait(WAIT)
    with httpx.Client(base_url=address(listener), timeout=WAIT, trust_env=False) as client:
        lost = client.post("/", content=b"die")
        counted = client.get("/metrics").text
        after = client.post("/", content=b"")
        health = client.get("/health")
        metrics = client.get("/metrics").text
    server.should_exit = True
    serving.join(WAIT)

    assert lost.status_code == 503
    assert lost.headers["retry-after"] == "1"
    assert after.status_code == 201
    assert "iog_worker_restarts 1.0" in counted
    assert health.json()["status"] == "ok"
    assert "iog_worker_restarts 1.0" in metrics
    assert "iog_workers 1.0" in metrics
