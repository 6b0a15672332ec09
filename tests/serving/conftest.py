from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import httpx
import nuclio_sdk
import pytest

from iog.serving.app import BODY_LIMIT, create_app
from iog.serving.logs import open_log
from iog.serving.pool import KNOWN_WAIT, WORKER_WAIT, Pool
from iog.serving.runtime import Answer, Call, Runtime
from iog.serving.server import Server, address, bind
from iog.serving.worker import Worker

Handler = Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object]
WAIT = 120.0
"""Seconds until a test gives up: a busy machine may take very long."""


@dataclass
class Running:
    """A server that really listens, a client for it, and what its function has logged."""

    url: str
    client: httpx.Client
    log: io.StringIO
    ready: threading.Event


class ThreadWorker(Worker):
    """A worker in a thread of this process, for handlers that a test wants to look into."""

    pid = os.getpid()

    def __init__(self, runtime: Runtime, *, loads: threading.Event | None = None) -> None:
        super().__init__()
        self._runtime = runtime
        self._loads = loads
        if loads is None:
            self.start().result()

    def start(self) -> Future[str | None]:
        return self._thread.submit(self._start_runtime)

    def _start_runtime(self) -> None:
        if self._loads is not None:
            assert self._loads.wait(WAIT)
        self._about = self._runtime.start()
        self._ready = True

    def submit(self, call: Call) -> Future[Answer]:
        return self._thread.submit(self._runtime.answer, call)


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start servers on free ports of this machine; they stop when the test ends."""
    yield from _servers()


@pytest.fixture(scope="module")
def serve_all() -> Iterator[Callable[..., Running]]:
    """As `serve`, for the tests of a module together."""
    yield from _servers()


def _servers() -> Iterator[Callable[..., Running]]:
    cleanups: list[Callable[[], None]] = []

    def start(
        handler: Handler,
        *,
        init_context: Callable[[nuclio_sdk.Context], None] = lambda _: None,
        body_limit: int = BODY_LIMIT,
        worker_wait: float = WORKER_WAIT,
        known_wait: float = KNOWN_WAIT,
        queue: int | None = None,
        body_seconds: float = WAIT,
        workers: int = 1,
        origins: tuple[str, ...] = (),
        loads: threading.Event | None = None,
    ) -> Running:
        """Workers that ``loads`` does not stop are ready when this returns."""
        log = io.StringIO()
        threads = [
            ThreadWorker(Runtime(init_context, handler, log=log, number=number), loads=loads)
            for number in range(workers)
        ]
        listener = bind("127.0.0.1", 0)
        url = address(listener)
        ready = threading.Event()
        pool = Pool(threads, wait=worker_wait, known_wait=known_wait, queue=queue)
        app = create_app(
            pool,
            body_limit=body_limit,
            body_seconds=body_seconds,
            origins=origins,
            log=open_log(log),
        )
        accepting = threading.Event()

        async def load() -> None:
            accepting.set()
            if loads is not None:
                assert await pool.start() is None

        server = Server(app, listener, on_ready=ready.set, load=load)
        thread = threading.Thread(target=server.run_until_stopped)
        thread.start()
        assert accepting.wait(WAIT) if loads else ready.wait(WAIT)
        client = httpx.Client(base_url=url, timeout=WAIT, trust_env=False)

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(WAIT)
            for worker in threads:
                worker.close()
            assert not thread.is_alive()

        cleanups.append(stop)
        return Running(url=url, client=client, log=log, ready=ready)

    yield start
    for stop in cleanups:
        stop()
