from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import nuclio_sdk
import pytest

from iog.serving.app import create_app
from iog.serving.bodies import BODY_LIMIT, Bodies
from iog.serving.logs import open_log
from iog.serving.pool import WORKER_WAIT, Pool
from iog.serving.runtime import Call, Reply, Runtime
from iog.serving.server import Server, address, bind

Handler = Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object]


@dataclass
class Running:
    """A server that really listens, a client for it, and what its function has logged."""

    url: str
    client: httpx.Client
    log: io.StringIO


class ThreadWorker:
    """A worker in a thread of this process, for handlers that a test wants to look into."""

    alive = True

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = ThreadPoolExecutor(1)
        self.pid = os.getpid()
        self.about = self._thread.submit(runtime.start).result()

    def submit(self, call: Call) -> Future[Reply]:
        return self._thread.submit(self._runtime.answer, call)

    def restart(self) -> Future[None]:
        raise AssertionError("a thread does not die")

    def close(self) -> None:
        self._thread.shutdown()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start servers on free ports of this machine; they stop when the test ends."""
    cleanups: list[Callable[[], None]] = []

    def start(
        handler: Handler,
        *,
        init_context: Callable[[nuclio_sdk.Context], None] = lambda _: None,
        body_limit: int = BODY_LIMIT,
        worker_wait: float = WORKER_WAIT,
        queue: int | None = None,
        body_seconds: float = 30,
        workers: int = 1,
    ) -> Running:
        log = io.StringIO()
        threads = [
            ThreadWorker(Runtime(init_context, handler, log=log, number=number))
            for number in range(workers)
        ]
        listener = bind("127.0.0.1", 0)
        url = address(listener)
        ready = threading.Event()
        pool = Pool(threads, wait=worker_wait, queue=queue)
        bodies = Bodies(limit=body_limit, seconds=body_seconds)
        app = create_app(pool, bodies, log=open_log(log))
        server = Server(app, listener, on_ready=ready.set)
        thread = threading.Thread(target=server.run_until_stopped)
        thread.start()
        assert ready.wait(30)
        client = httpx.Client(base_url=url, timeout=30, trust_env=False)

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(30)
            for worker in threads:
                worker.close()
            assert not thread.is_alive()

        cleanups.append(stop)
        return Running(url=url, client=client, log=log)

    yield start
    for stop in cleanups:
        stop()
