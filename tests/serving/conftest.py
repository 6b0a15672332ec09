from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import nuclio_sdk
import pytest

from serving.app import BODY_LIMIT, WORKER_WAIT, create_app
from serving.runtime import Runtime
from serving.server import Server, address, bind

Handler = Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object]


@dataclass
class Running:
    """A server that really listens, a client for it, and what its function has logged."""

    url: str
    client: httpx.Client
    log: io.StringIO


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
    ) -> Running:
        log = io.StringIO()
        runtime = Runtime(init_context, handler, log=log)
        runtime.start()
        listener = bind("127.0.0.1", 0)
        url = address(listener)
        ready = threading.Event()
        app = create_app(runtime, body_limit=body_limit, worker_wait=worker_wait)
        server = Server(app, listener, on_ready=ready.set)
        thread = threading.Thread(target=server.run_until_stopped)
        thread.start()
        assert ready.wait(30)
        client = httpx.Client(base_url=url, timeout=30, trust_env=False)

        def stop() -> None:
            client.close()
            server.should_exit = True
            thread.join(30)
            runtime.close()
            assert not thread.is_alive()

        cleanups.append(stop)
        return Running(url=url, client=client, log=log)

    yield start
    for stop in cleanups:
        stop()
