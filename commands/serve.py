"""`iog serve`: the function on this machine, over HTTP."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from errors import SettingsError, WeightsError

__all__ = ["serve"]


def serve(
    model: Annotated[
        str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
    ] = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
) -> None:
    """Answer requests over HTTP, as Nuclio would, until Ctrl-C."""
    from serving.app import create_app
    from serving.runtime import Runtime
    from serving.server import Server, address, bind

    if model is not None:
        os.environ["IOG_MODEL"] = model  # where init_context reads it
    with bind(host, port) as listener:
        typer.echo("Loading the model ...", err=True)
        import main

        runtime = Runtime(main.init_context, main.handler, log=sys.stderr)
        url = address(listener)
        try:
            runtime.start()
            server = Server(
                create_app(runtime),
                listener,
                on_ready=lambda: print(f"Ready: {url} (Ctrl-C stops it)", flush=True),
            )
            server.run_until_stopped()
        except (SettingsError, WeightsError):
            raise typer.Exit(1) from None  # init_context has logged the sentence
        finally:
            runtime.close()
    typer.echo("Stopped.", err=True)
