"""`iog serve`: the function on this machine, over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from cores import available_cores

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
    from serving.app import create_app
    from serving.logs import open_log, say_ready
    from serving.pool import Pool
    from serving.server import Server, address, bind
    from serving.worker import WorkerProcess, sharing

    # Where the workers' settings come from.
    if model is not None:
        os.environ["IOG_MODEL"] = model
    if workers > 1 and not os.environ.get("IOG_THREADS"):
        os.environ["IOG_THREADS"] = str(max(1, available_cores() // workers))
    log = open_log(sys.stderr)
    open_log(sys.stderr, name="uvicorn.error", level=logging.WARNING)
    with bind(host, port) as listener:
        log.info("Loading the model ...")
        if workers > 1:
            context = sharing(_needed_by_all())
            processes = [WorkerProcess(number, context=context) for number in range(workers)]
        else:  # it would share its memory with nobody
            processes = [WorkerProcess()]
        url = address(listener)
        try:
            if not all(future.result() for future in [each.start() for each in processes]):
                raise typer.Exit(1)  # the log says why
            server = Server(
                create_app(Pool(processes), log=log),
                listener,
                on_ready=lambda: say_ready(url),
            )
            server.run_until_stopped()
        finally:
            for process in processes:
                process.close()
    log.info("Stopped.")


def _needed_by_all() -> list[str]:
    """Modules that each worker imports; a wrong guess of the engine costs memory and no more."""
    openvino = find_spec("openvino") is not None and os.environ.get("IOG_ENGINE") != "torch"
    engine = (
        ["networks.openvinolibrary", "networks.openvinoengine"]
        if openvino
        else ["networks.torchengine"]
    )
    return ["main", "model_handler", "networks.choosing", *engine]
