"""The description of the local host's routes in OpenAPI 3.1, for ``GET /openapi.json``.

The request comes from the model that checks requests, and run lengths and polygons from the types
of masks. The rest of the answers is described here.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from iog import __version__
from iog.api.headers import IMAGE, REQUEST_ID, WARNING
from iog.api.request import request_schema

__all__ = ["openapi"]

_Ring = list[Annotated[list[int], Field(min_length=2, max_length=2)]]
_Counted = Annotated[int, Field(ge=0)]
_Score = Annotated[float, Field(ge=0, le=1)]


class Rle(TypedDict):
    """COCO's run lengths."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: str


class Polygon(TypedDict):
    """One component, along pixel edges."""

    exterior: _Ring
    holes: list[_Ring]


class Attribute(TypedDict):
    """The score, as CVAT wants it."""

    spec_id: Literal[0]
    value: str


class Shape(TypedDict):
    """A mask of CVAT: runs, then left, top, right and bottom."""

    type: Literal["mask"]
    points: list[int]
    attributes: list[Attribute]


class Object(TypedDict, total=False):
    """The mask of one box, under the name of its form."""

    box: Annotated[list[int], Field(min_length=4, max_length=4)] | None
    score: _Score
    area: _Counted
    rle: Rle
    polygon: list[Polygon]
    png: str


class Masks(TypedDict, total=False):
    """Each output that was asked for, under its name."""

    mask: list[list[Annotated[int, Field(ge=0, le=1)]]]
    points: _Ring
    shapes: list[Shape]
    polygon: list[Polygon]
    rle: Rle
    png: str
    objects: list[Object]


class Kept(TypedDict):
    """An image that was put: its digest, and its size once it is upright."""

    image_sha256: str
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class Problem(TypedDict):
    """What was wrong, where, and what to send instead; docs/api.md lists the codes."""

    code: Annotated[str, Field(pattern="^[a-z0-9_]+$")]
    message: str
    field: str | None
    hint: str


class Refused(TypedDict):
    """A request that gets no mask."""

    error: Problem


class Health(TypedDict):
    """Whether requests can be answered, by what."""

    status: Literal["ok", "loading", "no worker"]
    workers: _Counted
    ready: _Counted
    model: str | None
    engine: str | None
    version: str | None
    threshold: float | None


_REASONS = {
    400: "The body or the path is not what is described here.",
    403: "A page of another origin asks, which IOG_CORS_ORIGINS does not name.",
    408: "The body or the answer takes too long.",
    409: "The worker does not have the image: PUT it again.",
    413: "The image has too many pixels, or does not fit in the cache.",
    415: "The bytes are no image that can be read.",
    422: "Well formed, but nothing can be segmented.",
    500: "A defect; the log has the traceback.",
    503: "All workers are busy, or none is ready.",
}


@cache
def openapi() -> dict[str, Any]:
    """The whole description."""
    image = {"type": "string", "format": "binary", "description": "An image file, as it is."}
    digest = {
        "name": "sha256",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "description": "The SHA-256 of the file.",
    }
    told = {
        REQUEST_ID: "Names the request in the log.",
        "Server-Timing": "Milliseconds of each stage.",
    }
    of_image = told | {IMAGE: "SHA-256 of the image file."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "IOG: a box and clicks in, a mask out",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/": {
                "post": _operation(
                    "segment",
                    "The mask of the object in a box.",
                    Masks,
                    _headers(of_image | {WARNING: "What was ignored."}),
                    (400, 403, 408, 409, 413, 415, 422, 500, 503),
                    body={"application/json": {"schema": request_schema()}},
                ),
                "get": {
                    "operationId": "welcome",
                    "summary": "The page for a browser, and a help in JSON for all others.",
                    "responses": {
                        "200": {
                            "description": "By the header Accept.",
                            "content": {
                                "text/html": {"schema": {"type": "string"}},
                                "application/json": {"schema": {"type": "object"}},
                            },
                        }
                    },
                },
            },
            "/images/{sha256}": {
                "parameters": [digest],
                "put": _operation(
                    "keepImage",
                    "Keep an image, to name it by its digest in requests.",
                    Kept,
                    _headers(of_image),
                    (400, 403, 408, 413, 415, 500, 503),
                    body={"application/octet-stream": {"schema": image}},
                ),
            },
            "/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether requests can be answered.",
                    "responses": {
                        "200": _answer("At least one worker is ready.", Health),
                        "503": _answer("None is.", Health),
                    },
                }
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Figures in Prometheus' text format.",
                    "responses": {
                        "200": {
                            "description": "All figures.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                }
            },
        },
        "components": {"schemas": _components()},
    }


def _operation(
    name: str,
    summary: str,
    answer: type,
    headers: dict[str, Any],
    refused: tuple[int, ...],
    *,
    body: dict[str, Any],
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": _answer("As asked for.", answer) | {"headers": headers},
            **{str(status): _answer(_REASONS[status], Refused) for status in refused},
        },
    }


def _answer(description: str, kind: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _components() -> dict[str, Any]:
    """The schemas of the answers, and of all they are made of."""
    _, found = TypeAdapter.json_schemas(
        [(kind, "serialization", TypeAdapter(kind)) for kind in (Masks, Kept, Refused, Health)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _headers(told: dict[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in told.items()
    }
