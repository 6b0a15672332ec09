"""The description of the routes, and requests of every kind that it allows or forbids.

`make test-all` sends six times as many.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Route

from iog.api.request import FIELDS
from iog.serving.app import create_app
from iog.serving.openapi import openapi
from iog.serving.pool import Pool
from iog.serving.worker import Worker
from tests.builders import BOX, CLICK, photo
from tests.request_cases import cases

IMAGE = photo("PNG")
API = schemathesis.openapi.from_dict(openapi())
POST, PUT = API["/"]["POST"], API["/images/{sha256}"]["PUT"]
READING = [API[path]["GET"] for path in ("/", "/health", "/metrics")]
load_all_checks()


def check(case: schemathesis.Case[Any], server: str) -> schemathesis.Response:
    """Send a request; the answer's status, headers and shape must be those of the document."""
    # That a text is the base64 of an image is more than a schema can say.
    return case.call_and_validate(base_url=server, excluded_checks=[positive_data_acceptance])


@pytest.mark.parametrize("operation", READING, ids=lambda operation: operation.label)
def test_what_is_read_is_as_described(
    bundled_server: str, operation: schemathesis.APIOperation[Any, Any, Any, Any]
) -> None:
    assert check(operation.Case(), bundled_server).status_code == 200


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("operation", [POST, PUT], ids=lambda operation: operation.label)
@given(data=st.data())
def test_any_request_is_answered_as_described(
    bundled_server: str,
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    case = data.draw(operation.as_strategy(generation_mode=mode))
    check(case, bundled_server)


@given(case=POST.as_strategy(generation_mode=GenerationMode.POSITIVE))
def test_requests_with_an_image_are_answered_as_described(
    bundled_server: str, case: schemathesis.Case[Any]
) -> None:
    assert isinstance(case.body, dict)
    case.body.pop("image_sha256", None)
    case.body["image"] = base64.b64encode(IMAGE).decode()

    assert check(case, bundled_server).status_code in (200, 400, 422)


def test_the_document_is_served_and_describes_every_route_and_every_field(
    bundled_server: str,
) -> None:
    document = httpx.get(f"{bundled_server}/openapi.json", trust_env=False).json()
    paths = document["paths"]
    routes = {(path, name.upper()) for path, item in paths.items() for name in item}
    served = {
        (route.path, method)
        for route in create_app(Pool([Worker()])).routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    body = paths["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert document == openapi()
    assert document["openapi"] == "3.1.0"
    assert {(path, name) for path, name in routes if name != "PARAMETERS"} == {
        (path, name) for path, name in served if name != "HEAD" and path != "/openapi.json"
    }
    assert set(body["properties"]) == set(FIELDS)


def schema_of(path: str, method: str, status: int) -> dict[str, Any]:
    document = openapi()
    answer = document["paths"][path][method]["responses"][str(status)]
    return {**answer["content"]["application/json"]["schema"], "components": document["components"]}


def test_the_documented_shapes_are_those_of_all_outputs_and_errors(bundled_server: str) -> None:
    outputs = ["mask", "shapes", "polygon", "rle", "png", "objects"]
    request = {"image": base64.b64encode(IMAGE).decode(), "obj_bbox": BOX, "pos_points": [CLICK]}
    with httpx.Client(base_url=bundled_server, timeout=120, trust_env=False) as client:
        answers = [
            client.post("/", json=request | {"output": outputs, "form": form}).json()
            for form in ("rle", "polygon", "png")
        ]
        refused = client.post("/", json={}).json()

    shape = Draft202012Validator(schema_of("/", "post", 200))
    for answer in answers:
        assert answer.keys() == {*outputs, "points"}
        shape.validate(answer)
    Draft202012Validator(schema_of("/", "post", 400)).validate(refused)
    assert not shape.is_valid({"mask": [[2]]})
    assert not shape.is_valid({"objects": [{"score": 2}]})


def test_the_schema_of_a_request_takes_what_the_function_takes() -> None:
    """Of all request cases: what is 200 fits; what fits and is 400 is more than a schema says."""
    body = openapi()["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = Draft202012Validator(body)
    unsaid = {"invalid_base64", "empty_image", "invalid_box", "invalid_number", "invalid_mask"}
    for case in cases():
        try:
            content = json.loads(case.content().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            continue
        fits = schema.is_valid(content)
        if case.status == 200:
            assert fits, case.name
        elif case.status == 400 and case.code not in unsaid:
            assert not fits, case.name
