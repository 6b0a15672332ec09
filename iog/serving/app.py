"""The routes of the local host: requests, health, metrics; and the limits on requests' bodies."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

import nuclio_sdk
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from iog.api.headers import REQUEST_ID, request_id
from iog.serving.browsers import PageFiles, cross_site, middleware, prefers_html
from iog.serving.logs import open_log
from iog.serving.metrics import CONTENT_TYPE, Metrics
from iog.serving.openapi import openapi
from iog.serving.pool import Pool
from iog.serving.runtime import Answer, Call, Refusal, refusal

__all__ = ["BODY_LIMIT", "create_app"]

BODY_LIMIT: Final = 64 * 2**20
"""Bytes a body may have: the same as ``maxRequestBodySize`` in function.yaml."""
# A request holds a few numbers and one long text. A body of nothing but short lists grows to
# twenty times its size when it is parsed.
_MOST_COMMAS: Final = 200_000
# So many of the largest bodies may be held at a time, being received or waiting for a worker.
_LARGEST_AT_ONCE: Final = 8
# A client that is still sending would miss an answer that comes with a closed connection, so a
# body that is refused is received and dropped, up to this many times the limit.
_DRAIN_FACTOR: Final = 8

_HELP: Final = {
    "service": "IOG: a box and clicks in, a mask out",
    "page": "GET / in a browser",
    "request": "POST / with Content-Type: application/json",
    "body": {
        "image": "<base64 of an image file>",
        "image_sha256": "<in place of image: the digest of one sent before>",
        "obj_bbox": "[[x1, y1], [x2, y2]]",
        "pos_points": "[[x, y], ...], on the object",
        "neg_points": "[[x, y], ...], on the background",
    },
    "answer": {
        "mask": "rows of 0 and 1, the size of the image",
        "points": "[[x, y], ...], the outline",
    },
    "images": "PUT /images/{sha256} with the image file, to name it by its digest afterwards",
    "health": "GET /health",
    "metrics": "GET /metrics",
    "openapi": "GET /openapi.json",
}
_NAMED: Final = ("model", "engine", "version", "threshold")
_STOPPING: Final = refusal(503, "stopping", "The server is being stopped.", hint="Send it again.")


def create_app(
    pool: Pool,
    *,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = 60.0,
    origins: Collection[str] = (),
    log: nuclio_sdk.Logger | None = None,
) -> Starlette:
    """Build the application.

    Args:
        pool: answers the requests.
        body_limit: bytes a body may have; a larger one gets status 400, as from Nuclio.
        body_seconds: how long a body may take to arrive; a slower one gets status 408.
        origins: of other pages that may use the host, see ``Settings.cors_origins``.
        log: takes a line for each request that the host itself refuses; default: stderr.
    """
    bodies = _Bodies(limit=body_limit, seconds=body_seconds)
    endpoints = _Endpoints(pool, bodies, log or open_log(sys.stderr), origins)

    @asynccontextmanager
    async def watched(_: Starlette) -> AsyncIterator[None]:
        pool.watch()
        yield

    return Starlette(
        lifespan=watched,
        routes=[
            Route("/", endpoints.call, methods=["POST"]),
            Route("/", endpoints.welcome, methods=["GET"]),
            Route("/images/{sha256}", endpoints.call, methods=["PUT"]),
            Mount("/static", endpoints.files),
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/metrics", endpoints.metrics, methods=["GET"]),
            Route("/openapi.json", endpoints.openapi, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _wrong_route},
        middleware=middleware(origins),
    )


class _Endpoints:
    def __init__(
        self, pool: Pool, bodies: _Bodies, log: nuclio_sdk.Logger, origins: Collection[str]
    ) -> None:
        self.files = PageFiles()
        self._pool = pool
        self._bodies = bodies
        self._log = log
        self._origins = origins
        self._metrics = Metrics(pool.about, lambda: pool.pids)

    async def call(self, request: Request) -> Response:
        start = time.perf_counter()
        number = request_id(request.headers.items())
        with self._metrics.in_flight.track_inprogress():
            try:
                answer = await self._answer(request, number)
            except asyncio.CancelledError:  # the time to finish is over
                answer = _STOPPING
        seconds = time.perf_counter() - start
        self._metrics.observe(status=answer.status, seconds=seconds, report=answer.report)
        if isinstance(answer, Refusal):
            outcome = {"status": answer.status, "total_ms": round(seconds * 1000, 2)}
            self._log.warn_with("Request", **outcome, request_id=number, **answer.report)
        timing = _timing({**answer.report, "host_ms": round(seconds * 1000, 2)})
        return _response(answer, {REQUEST_ID: number, "Server-Timing": timing})

    async def _answer(self, request: Request, number: str) -> Answer:
        refused = cross_site(request.headers, self._origins)
        if refused is not None:
            return refused
        async with self._bodies.receive(request) as body:
            if isinstance(body, Answer):
                return body
            call = Call(
                body,
                headers=dict(request.headers.items()) | {REQUEST_ID.lower(): number},
                method=request.method,
                path=request.url.path,
                query=dict(request.query_params),
            )
            return await self._pool.answer(call)

    async def welcome(self, request: Request) -> Response:
        """The page for a browser, the help for everybody else."""
        if prefers_html(request.headers.get("accept", "")):
            response = await self.files.get_response("index.html", request.scope)
        else:
            response = _json(200, {**_HELP, **self._about()})
        response.headers["Vary"] = "Accept"
        return response

    async def health(self, request: Request) -> Response:
        pool = self._pool
        workers = {"workers": pool.size, "ready": pool.alive}
        status = {"status": pool.status} | workers | self._about()
        return _json(200 if pool.alive else 503, status)

    def _about(self) -> dict[str, object]:
        return {key: self._pool.about.get(key) for key in _NAMED}

    async def openapi(self, request: Request) -> Response:
        return _json(200, openapi())

    async def metrics(self, request: Request) -> Response:
        self._metrics.tell(self._pool.about)
        self._metrics.workers.set(self._pool.alive)
        self._metrics.restarts.set(self._pool.restarts)
        return Response(self._metrics.exposition(), headers={"content-type": CONTENT_TYPE})


class _Bodies:
    """Receives the bodies of requests, and bounds what each and what all of them hold."""

    def __init__(self, *, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes | Answer]:
        """The body of a request, or why it is refused; counts as held until the block ends."""
        chunks: list[bytes] = []
        try:
            yield await self._received(request, chunks)
        finally:
            self._held -= sum(map(len, chunks))

    async def _received(self, request: Request, chunks: list[bytes]) -> bytes | Answer:
        try:
            async with asyncio.timeout(self._seconds):
                refused = await self._collect(request, chunks)
        except TimeoutError:
            return refusal(408, "too_slow", "The body took too long to arrive.")
        except ClientDisconnect:
            return refusal(400, "disconnected", "The client went away while sending.")
        # One chunk in place of many, so that the body is not held twice.
        chunks[:] = [b"".join(chunks)]
        return refused or chunks[0]

    async def _collect(self, request: Request, chunks: list[bytes]) -> Answer | None:
        size = commas = 0
        refused: Answer | None = None
        async for chunk in request.stream():
            size += len(chunk)
            commas += 0 if request.method == "PUT" else chunk.count(b",")  # a file is not parsed
            refused = refused or self._objection(size, len(chunk), commas)
            if refused is None:
                chunks.append(chunk)
                self._held += len(chunk)
                continue
            self._held -= sum(map(len, chunks))
            chunks.clear()
            if size > _DRAIN_FACTOR * self._limit:
                break
        return refused

    def _objection(self, size: int, more: int, commas: int) -> Answer | None:
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


async def _wrong_route(request: Request, error: Exception) -> Response:
    wrong = cast(HTTPException, error)  # registered for nothing else
    code = {404: "not_found", 405: "method_not_allowed"}.get(wrong.status_code, "refused")
    message = f"There is nothing for {request.method} {request.url.path}."
    hint = "POST / takes requests, PUT /images/{sha256} takes images; GET / explains."
    return _response(refusal(wrong.status_code, code, message, hint=hint), wrong.headers or {})


def _timing(report: Mapping[str, object]) -> str:
    """The milliseconds of a report as the header ``Server-Timing`` has them."""
    stages = {key.removesuffix("_ms"): ms for key, ms in report.items() if key.endswith("_ms")}
    return ", ".join(f"{stage};dur={ms}" for stage, ms in stages.items())


def _response(answer: Answer, headers: Mapping[str, str]) -> Response:
    response = Response(answer.body, status_code=answer.status)
    # Not as media_type: starlette would add a charset, which Nuclio does not.
    response.headers.update({**answer.headers, **headers, "content-type": answer.content_type})
    return response


def _json(status: int, content: object) -> Response:
    body = json.dumps(content, indent=2) + "\n"
    return Response(body, status_code=status, headers={"content-type": "application/json"})
