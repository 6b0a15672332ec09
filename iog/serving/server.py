"""The socket, the signals and the end of the local host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette

__all__ = ["Server", "address", "bind"]

_SHUTDOWN_SECONDS = 4


def bind(host: str, port: int) -> socket.socket:
    """Take the address before anything slow happens; nothing is answered yet.

    Args:
        host: name or address of an interface of this machine.
        port: 0 takes a free one.

    Raises:
        OSError: the address cannot be had; ``strerror`` is a sentence.
    """
    try:
        flags = socket.AI_PASSIVE
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0][0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        # Two processes can bind one port, but only one of them can listen.
        listener = socket.create_server((host, port), family=family, backlog=1, dualstack_ipv6=both)
        # Connections take it over; asyncio does not set it here. Without it, an answer's body waits
        # some 40 ms until the client has confirmed its headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise type(error)(error.errno, _why_not(error, host, port)) from None


def _why_not(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine."
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use by another program; choose another one, such as "
            f"`make run PORT={port + 10}` or `iog serve --port {port + 10}`."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has; choose one above 1023."
    return f"Cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}."


def address(listener: socket.socket) -> str:
    """The URL under which a listener is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn on one listener; Ctrl-C and SIGTERM end it in order.

    Args:
        app: the application.
        listener: from `bind`.
        on_ready: called once requests are accepted and ``load`` has returned.
        load: awaited while requests are accepted already; what it raises ends the server.
    """

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        *,
        on_ready: Callable[[], None],
        load: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )
        self._listener = listener
        self._on_ready = on_ready
        self._load = load
        self._loading: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    def run_until_stopped(self) -> None:
        """Serve until a signal or ``should_exit``; requests in progress are still answered.

        Raises:
            Exception: whatever ``load`` has raised.
        """
        if threading.current_thread() is threading.main_thread():
            # uvicorn repeats a signal once it has stopped; this makes both end up below.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            self.run(sockets=[self._listener])
        if self._failure is not None:
            raise self._failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept requests, and say so once the rest is loaded."""
        await super().startup(sockets=sockets)
        self._loading = asyncio.create_task(self._finish_loading())

    async def _finish_loading(self) -> None:
        try:
            if self._load is not None:
                await self._load()
            self._on_ready()
        except Exception as failure:
            self._failure = failure
            self.should_exit = True
