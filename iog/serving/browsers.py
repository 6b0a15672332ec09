"""What browsers need beside the answers: the page's files, and who may use the host from where.

A browser sends requests for any page that it shows, also for one that has nothing to do with this
host. So pages of other origins are refused unless ``IOG_CORS_ORIGINS`` names them. Scripts send
none of the headers that tell, and are not concerned.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iog.api.headers import IMAGE, REQUEST_ID, WARNING
from iog.serving.runtime import Answer, refusal

__all__ = ["PAGE", "PageFiles", "cross_site", "middleware", "prefers_html"]

PAGE: Final = Path(__file__).parent / "static"
"""The folder of the page, with ``index.html``."""

# The page has no inline script or style and loads nothing from elsewhere; photographs and masks
# are drawn from memory.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# As this host has them: a system may know other types, or none, and `nosniff` insists.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
}
_EXPOSED: Final = (REQUEST_ID, IMAGE, WARNING, "Server-Timing", "Retry-After")


class PageFiles(StaticFiles):
    """The page's files; a browser asks each time whether its copy is still the same."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304 where the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        if "content-type" in response.headers:  # a 304 has none
            known = _TYPES.get(Path(full_path).suffix.lower())
            response.headers["Content-Type"] = known or "application/octet-stream"
        return response


def prefers_html(accept: str) -> bool:
    """Whether a header ``Accept`` names HTML, and not JSON before it: so do browsers only."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weights[kind] = float(quality)
        except ValueError:
            weights[kind] = 0.0
    return weights.get("text/html", 0.0) > weights.get("application/json", 0.0)


def cross_site(headers: Headers, allowed: Collection[str]) -> Answer | None:
    """The refusal of a request that a page of another origin makes; None for all others.

    Browsers say where a request comes from in ``Sec-Fetch-Site``, to addresses with https and to
    this machine, and in ``Origin``. Neither can be set by a page.

    Args:
        headers: of the request.
        allowed: origins that may, such as ``https://example.org``; ``*`` for all.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if "*" in allowed or origin in allowed or site in ("same-origin", "none"):
        return None
    if site is None and (origin is None or urlsplit(origin).netloc == headers.get("host")):
        return None
    return refusal(
        403,
        "cross_site",
        "A page of another origin may not use this server.",
        hint="Open the page of this server, or start it with IOG_CORS_ORIGINS="
        f"{origin if origin not in (None, 'null') else 'https://...'}.",
    )


def middleware(allowed: Collection[str]) -> list[Middleware]:
    """The headers that every answer gets, and, for other origins that may, CORS."""
    layers = [Middleware(_Headers, cross_origin=bool(allowed))]
    if allowed:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=allowed,
                allow_methods=("GET", "POST", "PUT"),
                allow_headers=(REQUEST_ID,),
                expose_headers=_EXPOSED,
            )
        )
    return layers


class _Headers:
    """Adds the headers by which a browser restricts what is done with an answer."""

    def __init__(self, app: ASGIApp, *, cross_origin: bool) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "cross-origin" if cross_origin else "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def restricted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, restricted)
