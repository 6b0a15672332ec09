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

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            to_reader, to_writer = await asyncio.open_connection(*next(turns))
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield str(host), int(port)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
