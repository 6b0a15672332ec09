"""Receives the bodies of requests, and bounds what each and what all of them hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from iog.serving.runtime import Reply, refusal

__all__ = ["BODY_LIMIT", "Bodies"]

BODY_LIMIT: Final = 64 * 2**20
"""Bytes a body may have: the same as ``maxRequestBodySize`` in function.yaml."""
_BODY_SECONDS: Final = 60.0
# A request holds a few numbers and one long text. A body of nothing but short lists grows to
# twenty times its size when it is decoded.
_MOST_COMMAS: Final = 200_000
# So many of the largest bodies may be held at a time, being received or waiting for a worker.
_LARGEST_AT_ONCE: Final = 8
# A client that is still sending would miss an answer that comes with a closed connection, so a
# body that is refused is received and dropped, up to this many times the limit.
_DRAIN_FACTOR: Final = 8


class Bodies:
    """Receives bodies.

    Args:
        limit: bytes a body may have; beyond, status 400 as from Nuclio.
        seconds: how long it may take to arrive; after that, status 408.
    """

    def __init__(self, *, limit: int = BODY_LIMIT, seconds: float = _BODY_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes | Reply]:
        """The body of a request, or why it is refused; counts as held until the block ends."""
        chunks: list[bytes] = []
        try:
            yield await self._received(request, chunks)
        finally:
            self._held -= sum(map(len, chunks))

    async def _received(self, request: Request, chunks: list[bytes]) -> bytes | Reply:
        try:
            async with asyncio.timeout(self._seconds):
                refused = await self._collect(request, chunks)
        except TimeoutError:
            return refusal(408, "too_slow", "The body took too long to arrive.")
        except ClientDisconnect:
            return refusal(400, "disconnected", "The client went away while sending.")
        if refused is not None:
            return refused
        # One chunk in place of many, so that the body is not held twice.
        chunks[:] = [b"".join(chunks)]
        return chunks[0]

    async def _collect(self, request: Request, chunks: list[bytes]) -> Reply | None:
        size = commas = 0
        refused: Reply | None = None
        async for chunk in request.stream():
            size += len(chunk)
            commas += chunk.count(b",")
            if refused is None:
                refused = self._objection(size, len(chunk), commas)
                if refused is not None:
                    self._held -= sum(map(len, chunks))
                    chunks.clear()
            if refused is None:
                chunks.append(chunk)
                self._held += len(chunk)
            elif size > _DRAIN_FACTOR * self._limit:
                break
        return refused

    def _objection(self, size: int, more: int, commas: int) -> Reply | None:
        if size > self._limit:
            return refusal(
                400,
                "body_too_large",
                f"The body has more than {self._limit} bytes.",
                hint="Send a smaller image file; base64 makes it a third larger.",
            )
        if commas > _MOST_COMMAS:
            return refusal(
                400,
                "too_many_values",
                f"The body holds more than {_MOST_COMMAS} values.",
                hint="Send the image as one base64 string, not as numbers.",
            )
        if self._held + more > _LARGEST_AT_ONCE * self._limit:
            return refusal(503, "busy", "Other requests are being received.", hint="Send it again.")
        return None
