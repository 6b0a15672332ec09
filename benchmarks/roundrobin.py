"""A proxy that gives connections to servers in turn, as a Kubernetes Service or nginx would."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

__all__ = ["Address", "round_robin"]

Address = tuple[str, int]
"""Host and port."""

_CHUNK = 2**16


@contextlib.asynccontextmanager
async def round_robin(servers: Sequence[Address]) -> AsyncIterator[Address]:
    """Listen on a free port of this machine until the block ends.

    Args:
        servers: who answers; each new connection goes to the next of them.

    Yields:
        Where the proxy listens.
    """
    turns = itertools.cycle(servers)
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        with contextlib.suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection(*next(turns))
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
            await _close(to_writer)
        await _close(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield str(host), int(port)
        await asyncio.gather(*open_)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
