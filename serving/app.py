"""The routes of the local host: requests, health, metrics."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from serving.metrics import CONTENT_TYPE, Metrics
from serving.runtime import Call, Reply, Runtime

__all__ = ["BODY_LIMIT", "create_app"]

BODY_LIMIT: Final = 64 * 2**20
"""Bytes a body may have: the same as ``maxRequestBodySize`` in function.yaml."""
WORKER_WAIT: Final = 10.0
"""Seconds a request waits for its turn, like ``workerAvailabilityTimeoutMilliseconds``."""
# A client that is still sending would miss an answer that comes with a closed connection, so a
# body that is too large is received and dropped, up to this many times the limit.
_DRAIN_FACTOR = 8

_HELP: Final = {
    "service": "IOG: a box and clicks in, a mask out",
    "request": "POST / with Content-Type: application/json",
    "body": {
        "image": "<base64 of an image file>",
        "obj_bbox": "[[x1, y1], [x2, y2]]",
        "pos_points": "[[x, y], ...], on the object",
        "neg_points": "[[x, y], ...], beside it",
    },
    "answer": {
        "mask": "rows of 0 and 1, the size of the image",
        "points": "[[x, y], ...], the outline",
    },
    "health": "GET /health",
    "metrics": "GET /metrics",
}


def create_app(
    runtime: Runtime, *, body_limit: int = BODY_LIMIT, worker_wait: float = WORKER_WAIT
) -> Starlette:
    """Build the application around a started runtime.

    Args:
        runtime: what answers requests.
        body_limit: bytes a request's body may have; beyond, status 400 as from Nuclio.
        worker_wait: seconds a request waits for its turn; after that, status 503.
    """
    endpoints = _Endpoints(runtime, body_limit=body_limit, worker_wait=worker_wait)
    return Starlette(
        routes=[
            Route("/", endpoints.call, methods=["POST"]),
            Route("/", endpoints.help, methods=["GET"]),
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/metrics", endpoints.metrics, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _wrong_route},
    )


class _Endpoints:
    def __init__(self, runtime: Runtime, *, body_limit: int, worker_wait: float) -> None:
        self._runtime = runtime
        self._body_limit = body_limit
        self._worker_wait = worker_wait
        self._turn = asyncio.Lock()
        self._metrics = Metrics()

    async def call(self, request: Request) -> Response:
        start = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            try:
                reply = await self._reply(request)
            except ClientDisconnect:
                reply = _error(400, "disconnected", "The client went away while sending.")
        self._metrics.observe(
            status=reply.status, seconds=time.perf_counter() - start, report=reply.report
        )
        response = Response(reply.body, status_code=reply.status)
        # Set by hand: starlette would add a charset, which Nuclio does not.
        response.headers["content-type"] = reply.content_type
        for name, value in reply.headers.items():
            response.headers[name] = value
        return response

    async def _reply(self, request: Request) -> Reply:
        body = await _read(request, self._body_limit)
        if body is None:
            return _error(
                400,
                "body_too_large",
                f"The body has more than {self._body_limit} bytes.",
                hint="Send a smaller image file; base64 makes it a third larger.",
            )
        call = Call(
            body=body,
            headers=tuple(request.headers.raw),
            method=request.method,
            path=request.url.path,
            query=request.query_params,
        )
        try:
            async with asyncio.timeout(self._worker_wait):
                await self._turn.acquire()
        except TimeoutError:
            return _error(503, "busy", "Other requests are being answered.", hint="Send it again.")
        try:
            return await asyncio.wrap_future(self._runtime.submit(call))
        finally:
            self._turn.release()

    async def help(self, request: Request) -> Response:
        return _json(200, _HELP)

    async def health(self, request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def _read(request: Request, limit: int) -> bytes | None:
    """The body, or None when it is larger than ``limit`` bytes."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
        if size > _DRAIN_FACTOR * limit:
            break
    return b"".join(chunks) if size <= limit else None


async def _wrong_route(request: Request, error: Exception) -> Response:
    refusal = cast(HTTPException, error)  # registered for nothing else
    code = {404: "not_found", 405: "method_not_allowed"}.get(refusal.status_code, "refused")
    message = f"There is nothing for {request.method} {request.url.path}."
    reply = _error(
        refusal.status_code, code, message, hint="POST / takes requests; GET / explains."
    )
    return Response(
        reply.body,
        status_code=reply.status,
        headers={**(refusal.headers or {}), "content-type": reply.content_type},
    )


def _error(status: int, code: str, message: str, *, hint: str = "") -> Reply:
    """An answer of the host itself, in the form of the handler's errors."""
    error = {"code": code, "message": message, "field": None, "hint": hint}
    return Reply(status, json.dumps({"error": error}).encode(), "application/json")


def _json(status: int, content: object) -> Response:
    body = json.dumps(content, indent=2) + "\n"
    return Response(body, status_code=status, headers={"content-type": "application/json"})
