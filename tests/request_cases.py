"""Requests of every kind with the answer each must get, for the real server.

After `make test`, `.venv/bin/python -m tests.request_cases http://127.0.0.1:8080` sends them all to
a running function and prints the table of `docs/request-cases.md`.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from iog.masks import Mask
from tests.builders import (
    HEIGHT,
    HOLLOW,
    READABLE,
    UNREADABLE,
    WIDTH,
    announcing,
    body,
    oriented,
    photo,
)

JSON = "application/json"


@dataclass(frozen=True)
class Case:
    """One request and its answer."""

    group: str
    name: str
    content: Callable[[], bytes]
    status: int
    code: str = ""
    """The error's code, for a status from 400 on."""
    size: tuple[int, int] = (HEIGHT, WIDTH)
    """The mask's height and width."""
    keys: frozenset[str] = frozenset({"mask", "points"})
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": JSON})


def _json(**fields: object) -> Callable[[], bytes]:
    return lambda: json.dumps(body(**fields)).encode()


def _image(data: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: json.dumps(body(data())).encode()


def _raw(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def cases() -> Iterator[Case]:
    """All cases, group by group."""
    yield from _images()
    yield from _boxes()
    yield from _clicks()
    yield from _masks()
    yield from _other_fields()
    yield from _bodies()


def _images() -> Iterator[Case]:
    group = "image"
    for name, make in READABLE.items():
        yield Case(group, name, _image(make), 200)
    for orientation in (3, 6):
        size = (HEIGHT, WIDTH) if orientation == 3 else (WIDTH, HEIGHT)
        name = f"jpeg, EXIF orientation {orientation}"
        yield Case(group, name, _image(lambda o=orientation: oriented(o)), 200, size=size)  # type: ignore[misc]
    one_pixel = np.zeros((1, 1, 3), np.uint8)
    yield Case(
        group,
        "one pixel",
        lambda: json.dumps(body(_png(one_pixel), obj_bbox=[0, 0, 1, 1])).encode(),
        200,
        size=(1, 1),
    )
    encoded = base64.b64encode(photo()).decode()
    lines = "\n".join(encoded[i : i + 76] for i in range(0, len(encoded), 76))
    yield Case(group, "base64 in lines", _json(image=lines), 200)
    yield Case(group, "data URL", _json(image="data:image/png;base64," + encoded), 200)
    yield Case(group, "base64 without padding", _json(image=encoded.rstrip("=")), 200)
    for name, make in UNREADABLE.items():
        code = "broken_image" if name in ("webp-truncated", "bmp-of-text") else "not_an_image"
        yield Case(group, name, _image(make), 415, code)
    for name, make in HOLLOW.items():
        yield Case(group, name, _image(make), 415, "broken_image")
    line = _image(lambda: announcing(20_000_000, 1))
    yield Case(group, "20,000,000 x 1 pixels", line, 413, "too_many_pixels")
    yield Case(
        group, "20,000 x 20,000 pixels", _image(lambda: announcing(20000, 20000)), 413,
        "too_many_pixels",
    )  # fmt: skip
    yield Case(group, "missing", _json(image=...), 400, "missing_field")
    yield Case(group, "null", _json(image=None), 400, "invalid_type")
    yield Case(group, "a number", _json(image=7), 400, "invalid_type")
    yield Case(group, "empty", _json(image=""), 400, "empty_image")
    yield Case(group, "not base64", _json(image="a photo of a cat!"), 400, "invalid_base64")
    digest = "0" * 64
    unknown = _json(image=..., image_sha256=digest)
    yield Case(group, "digest of an unknown one", unknown, 409, "unknown_image")
    yield Case(group, "file and digest", _json(image_sha256=digest), 400, "two_images")
    for name, wrong in (("short", "abc"), ("null", None), ("in capitals", "A" * 64)):
        bad = _json(image=..., image_sha256=wrong)
        yield Case(group, f"digest {name}", bad, 400, "invalid_sha256")


def _boxes() -> Iterator[Case]:
    group = "box"
    good: dict[str, object] = {
        "two corners": [[10.5, 8.25], [40.0, 30.75]],
        "flat": [10.5, 8.25, 40.0, 30.75],
        "reversed": [[40.0, 30.75], [10.5, 8.25]],
        "the other diagonal": [[10.5, 30.75], [40.0, 8.25]],
        "whole numbers": [[10, 8], [40, 30]],
        "two boxes as four corners": [[2, 2], [20, 20], [30, 10], [50, 35]],
        "two boxes as fours": [[2, 2, 20, 20], [30, 10, 50, 35]],
        "partly outside": [[-20.5, -9], [30, 900]],
        "larger than the image": [[-5, -5], [500, 500]],
        "thinner than a pixel": [[10.2, 8], [10.4, 30]],
        "at the far edge": [[WIDTH - 3, HEIGHT - 3], [WIDTH, HEIGHT]],
    }
    for name, box in good.items():
        yield Case(group, name, _json(obj_bbox=box), 200)
    legacy = [[10, 8], [40, 30], [3, 3]]
    yield Case(group, "none, two negative points", _json(obj_bbox=None, neg_points=legacy), 200)
    for name, missing in (("missing", ...), ("null", None), ("[]", [])):
        yield Case(group, name, _json(obj_bbox=missing), 422, "missing_box")
    outside = [[WIDTH + 1, 0], [WIDTH + 30, 20]]
    yield Case(group, "outside the image", _json(obj_bbox=outside), 422, "box_outside_image")
    yield Case(group, "no width", _json(obj_bbox=[[9, 3], [9, 20]]), 422, "empty_box")
    fractions = [[0.1, 0.1], [0.9, 0.9]]
    yield Case(group, "fractions of the image", _json(obj_bbox=fractions), 422, "empty_box")
    yield Case(group, "three corners", _json(obj_bbox=[[1, 2], [3, 4], [5, 6]]), 400, "invalid_box")
    yield Case(group, "three numbers", _json(obj_bbox=[1, 2, 3]), 400, "invalid_box")
    yield Case(group, "a word", _json(obj_bbox="all of it"), 400, "invalid_box")
    yield Case(
        group, "words as numbers", _json(obj_bbox=[["1", "2"], ["3", "4"]]), 400, "invalid_number"
    )
    many = [[1, 1, 9, 9]] * 17
    yield Case(group, "17 boxes", _json(obj_bbox=many), 422, "too_many_boxes")


def _clicks() -> Iterator[Case]:
    group = "clicks"
    good: dict[str, dict[str, object]] = {
        "none": {"pos_points": []},
        "missing": {"pos_points": ..., "neg_points": ...},
        "null": {"pos_points": None, "neg_points": None},
        "flat": {"pos_points": [25, 19]},
        "several of each": {
            "pos_points": [[25, 19], [12, 10], [38.5, 29]],
            "neg_points": [[2, 2], [50, 38]],
        },
        "outside the box": {"pos_points": [[55, 39]]},
        "outside the image": {"pos_points": [[-400, 1e6]], "neg_points": [[1e8, -1]]},
    }
    for name, fields in good.items():
        yield Case(group, name, _json(**fields), 200)
    for name, points in (
        ("three coordinates", [[1, 2, 3]]),
        ("one coordinate", [[1]]),
        ("an object", {"x": 1, "y": 2}),
        ("a string", "25,19"),
    ):
        yield Case(group, name, _json(pos_points=points), 400, "invalid_point")
    for name, point in (("null", None), ("true", True), ("a string", "1")):
        yield Case(
            group, f"{name} as coordinate", _json(neg_points=[[1, point]]), 400, "invalid_number"
        )
    for name, text in (("NaN", b"NaN"), ("Infinity", b"Infinity"), ("1e308", b"1e308")):
        content = json.dumps(body(pos_points=[["?", 1]])).encode().replace(b'"?"', text)
        yield Case(group, f"{name} as coordinate", _raw(content), 400, "invalid_number")
    many = [[1, 1]] * 1001
    yield Case(group, "1,001 points", _json(pos_points=many), 422, "too_many_points")


def _masks() -> Iterator[Case]:
    group = "mask to start from"
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[8:30, 10:40] = 1
    mask = dict(Mask.from_array(drawn).rle())
    good: dict[str, dict[str, object]] = {
        "alone": {"obj_bbox": ..., "pos_points": ...},
        "with a box": {},
        "with clicks": {"obj_bbox": None, "neg_points": [[12, 10], [38, 28]]},
        "null": {"mask_input": None},
    }
    for name, fields in good.items():
        yield Case(group, name, _json(**{"mask_input": mask} | fields), 200)
    empty = dict(Mask.from_array(np.zeros_like(drawn)).rle())
    yield Case(group, "empty", _json(mask_input=empty), 422, "empty_mask")
    for name, size in (("turned", [WIDTH, HEIGHT]), ("of a huge size", [40_000, 40_000])):
        other = _json(mask_input=mask | {"size": size})
        yield Case(group, name, other, 422, "other_size")
    boxes = [[2, 2], [20, 20], [30, 10], [50, 35]]
    several = _json(mask_input=mask, obj_bbox=boxes)
    yield Case(group, "with two boxes", several, 422, "too_many_boxes")
    bad: dict[str, object] = {
        "text": "mask.png",
        "rows": [[0, 1], [1, 0]],
        "without counts": {"size": [HEIGHT, WIDTH]},
        "counts as a list": mask | {"counts": [5, 5]},
        "counts that do not add up": mask | {"counts": "PP"},
        "counts that are none": mask | {"counts": "a photo of a cat"},
        "three sizes": mask | {"size": [HEIGHT, WIDTH, 3]},
        "a negative size": mask | {"size": [-HEIGHT, WIDTH]},
        "size as text": mask | {"size": "48x64"},
    }
    for name, value in bad.items():
        yield Case(group, name, _json(mask_input=value), 400, "invalid_mask")


def _other_fields() -> Iterator[Case]:
    group = "other fields"
    yield Case(group, "threshold 0.3", _json(threshold=0.3), 200)
    yield Case(group, "threshold null", _json(threshold=None), 200)
    for value in (0, 1, -3, "0.5", True):
        name = f"threshold {json.dumps(value)}"
        yield Case(group, name, _json(threshold=value), 400, "invalid_threshold")
    for name in ("shapes", "polygon", "rle", "png", "objects"):
        yield Case(group, f"output {name}", _json(output=name), 200, keys=frozenset({name}))
    everything = ["mask", "shapes", "polygon", "rle", "png", "objects"]
    keys = frozenset({*everything, "points"})
    yield Case(group, "all outputs", _json(output=everything), 200, keys=keys)
    yield Case(group, "output unknown", _json(output="svg"), 400, "unknown_output")
    yield Case(group, "output a number", _json(output=5), 400, "unknown_output")
    for form in ("rle", "polygon", "png"):
        fields = {"output": "objects", "form": form}
        yield Case(group, f"form {form}", _json(**fields), 200, keys=frozenset({"objects"}))
    options: dict[str, object] = {"tolerance": 1.5, "largest": 1, "fill_holes": 64}
    for name, option in options.items():
        yield Case(group, f"{name} {option}", _json(**{name: option}), 200)
        yield Case(group, f"{name} null", _json(**{name: None}), 200)
        yield Case(group, f"{name} -1", _json(**{name: -1}), 400, f"invalid_{name}")
    yield Case(group, "largest 1.5", _json(largest=1.5), 400, "invalid_largest")
    yield Case(group, "form unknown", _json(form="svg"), 400, "unknown_form")
    yield Case(group, "unknown keys", _json(frame=3, text_prompts=["cat"]), 200)


def _bodies() -> Iterator[Case]:
    group = "body"
    fine = json.dumps(body()).encode()
    for name, headers in (
        ("application/json; charset=utf-8", {"Content-Type": "application/json; charset=utf-8"}),
        ("text/plain", {"Content-Type": "text/plain"}),
        ("no content type", {}),
    ):
        yield Case(group, name, _raw(fine), 200, headers=headers)
    yield Case(group, "with byte order mark", _raw(b"\xef\xbb\xbf" + fine), 200)
    yield Case(group, "empty", _raw(b""), 400, "empty_body")
    yield Case(group, "not JSON", _raw(b"image=cat.jpg"), 400, "invalid_json")
    yield Case(group, "cut off", _raw(fine[:-20]), 400, "invalid_json")
    yield Case(group, "not UTF-8", _raw(b"\xff\xfe\x00{"), 400, "invalid_encoding")
    for name, content in (
        ("a list", b"[1, 2]"),
        ("a number", b"3.5"),
        ("NaN", b"NaN"),
    ):
        yield Case(group, name, _raw(content), 400, "not_an_object")
    # Decoded by the runtime: null is no body, and a text is read as one.
    yield Case(group, "null", _raw(b"null"), 400, "empty_body")
    yield Case(group, "a string", _raw(b'"cat"'), 400, "invalid_json")
    yield Case(group, "{}", _raw(b"{}"), 400, "missing_field")
    yield Case(group, "nested 100,000 deep", _raw(b"[" * 100_000), 400, "invalid_json")
    digits = b'{"threshold": ' + b"9" * 10_000 + b"}"
    yield Case(group, "a number of 10,000 digits", _raw(digits), 400, "invalid_json")


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    from PIL import Image

    from tests.builders import saved

    return saved(Image.fromarray(pixels), "PNG")


def table(client: httpx.Client) -> Iterator[str]:
    """Markdown rows of what a running function answers to every case."""
    yield "| group | request | status | code |\n| --- | --- | --- | --- |"
    for case in cases():
        answer = client.post("/", content=case.content(), headers=case.headers)
        code = answer.json().get("error", {}).get("code", "")
        yield f"| {case.group} | {case.name} | {answer.status_code} | {code} |"


if __name__ == "__main__":
    with httpx.Client(base_url=sys.argv[1], timeout=60) as connection:
        for line in table(connection):
            print(line)
