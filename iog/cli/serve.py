"""`iog serve`: the function on this machine, over HTTP."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

import typer

from iog.settings import available_cores, cors_origins_from_env

__all__ = ["serve"]


def serve(
    model: Annotated[
        str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
    ] = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; each answers one request at a time.")
    ] = 1,
) -> None:
    """Answer requests over HTTP, as Nuclio would, until Ctrl-C."""
    from iog.serving.app import create_app
    from iog.serving.logs import open_log, say_ready
    from iog.serving.pool import Pool
    from iog.serving.server import Server, address, bind
    from iog.serving.worker import Worker

    # Where the workers' settings come from.
    if model is not None:
        os.environ["IOG_MODEL"] = model
    if workers > 1 and not os.environ.get("IOG_THREADS"):
        os.environ["IOG_THREADS"] = str(max(1, available_cores() // workers))
    origins = cors_origins_from_env()
    log = open_log(sys.stderr)
    open_log(sys.stderr, name="uvicorn.error", level=logging.WARNING)
    with bind(host, port) as listener:
        log.info("Loading the model ...")
        running = [Worker(number, named=workers > 1) for number in range(workers)]
        url = address(listener)
        try:
            # A container is stopped by SIGTERM, which may come while the model is loaded.
            with contextlib.suppress(KeyboardInterrupt), _signals(signal.default_int_handler):
                pool = Pool(running)

                async def load() -> None:
                    if (failure := await pool.start()) is not None:
                        sys.stderr.write(failure)  # once: the others fail for the same reason
                        raise typer.Exit(1)

                app = create_app(pool, origins=origins, log=log)
                server = Server(app, listener, on_ready=lambda: say_ready(url), load=load)
                server.run_until_stopped()
        finally:
            with _signals(signal.SIG_IGN):  # it takes a second; cut short, it would leave processes
                for worker in running:
                    worker.close()
    log.info("Stopped.")


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Give Ctrl-C and SIGTERM to a handler until the block ends."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
