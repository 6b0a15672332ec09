"""The routes of the local host: requests, health, metrics."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final, cast

import nuclio_sdk
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from iog.api.headers import REQUEST_ID, request_id
from iog.serving.bodies import Bodies
from iog.serving.logs import open_log
from iog.serving.metrics import CONTENT_TYPE, Metrics
from iog.serving.pool import Pool
from iog.serving.runtime import Call, Refusal, Reply, refusal

__all__ = ["create_app"]

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
_STOPPING: Final = refusal(503, "stopping", "The server is being stopped.", hint="Send it again.")


def create_app(
    pool: Pool, bodies: Bodies | None = None, *, log: nuclio_sdk.Logger | None = None
) -> Starlette:
    """Build the application.

    Args:
        pool: what answers requests.
        bodies: what receives their bodies, with its own limits.
        log: where refusals of the host itself are told; stderr when not given.
    """
    endpoints = _Endpoints(pool, bodies or Bodies(), log or open_log(sys.stderr))
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
    def __init__(self, pool: Pool, bodies: Bodies, log: nuclio_sdk.Logger) -> None:
        self._pool = pool
        self._bodies = bodies
        self._log = log
        self._metrics = Metrics(pool.about, lambda: pool.pids)

    async def call(self, request: Request) -> Response:
        start = time.perf_counter()
        number = request_id(request.headers.raw)
        with self._metrics.in_flight.track_inprogress():
            try:
                reply = await self._reply(request, number)
            except asyncio.CancelledError:  # the time to finish is over
                reply = _STOPPING
        seconds = time.perf_counter() - start
        self._metrics.observe(status=reply.status, seconds=seconds, report=reply.report)
        if isinstance(reply, Refusal):
            outcome = {"status": reply.status, "total_ms": round(seconds * 1000, 2)}
            self._log.warn_with("Request", **outcome, request_id=number, **reply.report)
        response = Response(reply.body, status_code=reply.status)
        # Set by hand: starlette would add a charset, which Nuclio does not.
        response.headers["content-type"] = reply.content_type
        for name, value in reply.headers.items():
            response.headers[name] = value
        response.headers[REQUEST_ID] = number
        return response

    async def _reply(self, request: Request, number: str) -> Reply:
        async with self._bodies.receive(request) as body:
            if isinstance(body, Reply):
                return body
            own = REQUEST_ID.lower().encode()
            others = (pair for pair in request.headers.raw if pair[0] != own)
            call = Call(
                body=body,
                headers=(*others, (own, number.encode())),
                method=request.method,
                path=request.url.path,
                query=request.query_params,
            )
            return await self._pool.answer(call)

    async def help(self, request: Request) -> Response:
        return _json(200, {**_HELP, **self._about()})

    async def health(self, request: Request) -> Response:
        alive = self._pool.alive
        status = {"status": "ok" if alive else "no worker"}
        return _json(200 if alive else 503, status | self._about())

    def _about(self) -> dict[str, object]:
        return {key: self._pool.about.get(key) for key in ("model", "engine", "version")}

    async def metrics(self, request: Request) -> Response:
        self._metrics.workers.set(self._pool.alive)
        self._metrics.restarts.set(self._pool.restarts)
        return Response(self._metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def _wrong_route(request: Request, error: Exception) -> Response:
    wrong = cast(HTTPException, error)  # registered for nothing else
    code = {404: "not_found", 405: "method_not_allowed"}.get(wrong.status_code, "refused")
    message = f"There is nothing for {request.method} {request.url.path}."
    reply = refusal(wrong.status_code, code, message, hint="POST / takes requests; GET / explains.")
    return Response(
        reply.body,
        status_code=reply.status,
        headers={**(wrong.headers or {}), "content-type": reply.content_type},
    )


def _json(status: int, content: object) -> Response:
    body = json.dumps(content, indent=2) + "\n"
    return Response(body, status_code=status, headers={"content-type": "application/json"})
