"""Worker processes: what they survive, and what survives them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import httpx
import psutil
import pytest

from serving import server as hosting
from serving.app import create_app
from serving.pool import Pool
from serving.runtime import Call
from serving.server import Server, address, bind
from serving.worker import CALL_SECONDS, WorkerProcess, sharing

TOY = "tests.serving.toy"
Start = Callable[..., WorkerProcess]


@pytest.fixture(params=["afresh", "sharing"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    workers: list[WorkerProcess] = []
    options = {"context": sharing([TOY])} if request.param == "sharing" else {}

    def starter(*, number: int = 0, call_seconds: float = CALL_SECONDS) -> WorkerProcess:
        worker = WorkerProcess(number, module=TOY, call_seconds=call_seconds, **options)
        workers.append(worker)
        assert worker.start().result(60)
        return worker

    yield starter
    for worker in workers:
        worker.close()


def ask(worker: WorkerProcess, told: bytes) -> tuple[int, str]:
    reply = worker.submit(Call(told)).result(60)
    return reply.status, reply.body.decode()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_call_is_answered_in_another_process(start: Start) -> None:
    worker = start(number=3)

    reply = worker.submit(Call(b"", ((b"x-sent", "é".encode()),))).result(60)

    assert reply.status == 201
    assert reply.body.decode() == str(worker.pid) != str(os.getpid())
    assert reply.headers == {"X-Worker": "3", "X-Sent": "é"}
    assert reply.report == {"calls": 1}
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
    worker.restart().result(60)
    assert ask(worker, b"") == (201, str(worker.pid))
    assert worker.pid != first


def test_a_worker_that_died_while_idle_costs_nobody_an_answer(start: Start) -> None:
    worker = start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    while not gone(worker.pid):
        time.sleep(0.01)

    assert ask(worker, b"") == (201, str(worker.pid))


def test_a_call_without_end_is_ended(start: Start) -> None:
    worker = start(call_seconds=0.3)
    first = worker.pid

    status, body = ask(worker, b"sleep")

    assert status == 408
    assert "timed_out" in body
    assert not worker.alive
    worker.restart().result(60)
    assert ask(worker, b"") == (201, str(worker.pid))
    assert first is not None
    assert gone(first)


def test_a_worker_that_cannot_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = tmp_path / "needed"
    monkeypatch.setenv("TOY_NEEDS", str(needed))
    worker = WorkerProcess(module=TOY)
    try:
        assert not worker.start().result(60)
        assert not worker.alive
        again = worker.restart()
        needed.touch()
        again.result(60)
        assert ask(worker, b"") == (201, str(worker.pid))
    finally:
        worker.close()


def test_signals_to_the_group_are_left_to_the_host(start: Start) -> None:
    worker = start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)

    assert ask(worker, b"") == (201, str(worker.pid))


def test_workers_that_share_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    context = sharing([TOY, "no.such.module"])
    monkeypatch.setenv("TOY_SAYS", "set after the modules were imported")
    worker = WorkerProcess(module=TOY, context=context)
    try:
        assert worker.start().result(60)
        assert ask(worker, b"environment") == (201, "set after the modules were imported")
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers never share")
def test_without_a_folder_for_its_socket_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(forkserver, "ensure_running", refuse)
    assert sharing([TOY]).get_start_method() == "spawn"


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
    assert ready.wait(30)
    answers: list[httpx.Response] = []
    url = address(listener)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        waiting = threading.Thread(
            target=lambda: answers.append(client.post("/", content=b"sleep"))
        )
        waiting.start()
        while "in_flight 1.0" not in httpx.get(f"{url}/metrics", trust_env=False).text:
            time.sleep(0.01)
        server.should_exit = True
        serving.join(30)
        waiting.join(30)

    assert not serving.is_alive()
    assert [answer.status_code for answer in answers] == [503]
    assert answers[0].json()["error"]["code"] == "stopping"


def test_a_server_replaces_its_worker_by_itself(start: Start) -> None:
    worker = start()
    listener = bind("127.0.0.1", 0)
    ready = threading.Event()
    server = Server(create_app(Pool([worker])), listener, on_ready=ready.set)
    serving = threading.Thread(target=server.run_until_stopped)
    serving.start()
    assert ready.wait(30)
    with httpx.Client(base_url=address(listener), timeout=60, trust_env=False) as client:
        lost = client.post("/", content=b"die")
        after = client.post("/", content=b"")
        health = client.get("/health")
        metrics = client.get("/metrics").text
    server.should_exit = True
    serving.join(30)

    assert lost.status_code == 503
    assert lost.headers["retry-after"] == "1"
    assert after.status_code == 201
    assert health.json()["status"] == "ok"
    assert "iog_worker_restarts 1.0" in metrics
    assert "iog_workers 1.0" in metrics
