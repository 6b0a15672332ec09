"""`main.respond` with a network that runs, on requests that are almost right."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import main
from iog.decoding import read_pixels
from iog.masks import Mask
from iog.settings import Settings
from model_handler import ModelHandler
from tests import builders
from tests.random_weights import write_random_lite

MAX_PIXELS = 4_000_000
READABLE = {kind: make() for kind, make in builders.READABLE.items()}
REFUSED = [make() for make in (builders.UNREADABLE | builders.HOLLOW).values()]


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> main.Function:
    weights = write_random_lite(tmp_path_factory.mktemp("weights") / "lite.pt")
    chosen = Settings(model=str(weights), device="cpu", threads=1, max_pixels=MAX_PIXELS)
    return main.Function(chosen, ModelHandler(chosen))


@st.composite
def mutated_images(draw: st.DrawFn) -> bytes:
    """A file of any readable kind with some bytes changed, and perhaps its end cut off."""
    data = bytearray(READABLE[draw(st.sampled_from(sorted(READABLE)))])
    at = st.integers(0, len(data) - 1)
    for position, value in draw(st.lists(st.tuples(at, st.integers(0, 255)), max_size=4)):
        data[position] = value
    end = draw(st.just(len(data)) | at)
    return bytes(data[:end])


@st.composite
def images_of_any_size(draw: st.DrawFn) -> bytes:
    """Thin lines and small pictures, in grey."""
    height = draw(st.sampled_from([1, 2, 3, 40]) | st.integers(1, 300))
    width = draw(st.integers(1, 4000))
    if draw(st.booleans()):
        height, width = width, height
    ramp = (np.arange(height * width) % 251).astype(np.uint8).reshape(height, width)
    return builders.saved(Image.fromarray(ramp), draw(st.sampled_from(["PNG", "JPEG", "TIFF"])))


NEAR = st.floats(-20, 80) | st.integers(-20, 80)
FAR = st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2e-308, 1e9, -1e9])
COORDINATE = NEAR | FAR
POINT = st.tuples(COORDINATE, COORDINATE)
# Most boxes touch the picture; the others are drawn from anywhere.
NEAR_BOX = st.tuples(st.floats(-30, 35), st.floats(-30, 35), COORDINATE, COORDINATE)
BOX = NEAR_BOX | NEAR_BOX | st.tuples(*[COORDINATE] * 4)
BOXES = st.lists(BOX, min_size=1, max_size=3) | BOX | st.tuples(POINT, POINT)
READABLE_IMAGES = st.sampled_from(sorted(READABLE)).map(READABLE.__getitem__)
IMAGES = mutated_images() | images_of_any_size() | READABLE_IMAGES | st.sampled_from(REFUSED)
THRESHOLD = st.floats(0, 1) | st.sampled_from([5e-324, 1 - 2**-53, None])
OUTPUTS = st.lists(
    st.sampled_from(["mask", "shapes", "polygon", "rle", "png", "objects"]), min_size=1
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "image": IMAGES,
    "obj_bbox": BOXES,
    "pos_points": st.lists(POINT, max_size=4),
    "neg_points": st.lists(POINT, max_size=4),
    "threshold": THRESHOLD,
    "output": OUTPUTS,
    "form": st.sampled_from(["rle", "polygon", "png", None, "svg"]),
    "tolerance": st.floats(-1, 50) | st.none(),
    "largest": st.integers(0, 4) | st.none(),
    "fill_holes": st.floats(-1, 1e6) | st.none(),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, object], bytes]:
    """A request of which one or two fields are replaced, and the bytes of its image."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=2, unique=True))
    fields = {name: draw(FIELDS[name]) for name in names}
    data = fields.pop("image", READABLE["png-RGB"])
    return builders.body(data, **fields), data


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def check_masks(answer: dict[str, Any], size: tuple[int, ...]) -> None:
    """Every output that holds the whole mask has the image's size and two values."""
    if "mask" in answer:
        mask = np.array(answer["mask"])
        assert mask.shape == size
        assert set(np.unique(mask)) <= {0, 1}
    if "rle" in answer:
        assert tuple(answer["rle"]["size"]) == size
    if "png" in answer:
        with Image.open(io.BytesIO(base64.b64decode(answer["png"]))) as picture:
            assert (picture.height, picture.width) == size


def test_a_mask_alone_comes_back_as_it_is(function: main.Function) -> None:
    data = READABLE["png-RGB"]
    drawn = np.zeros(read_pixels(data, max_pixels=MAX_PIXELS).shape[:2], np.uint8)
    drawn[8:24, 10:30] = 1
    drawn[28:30, 2:4] = 1  # a component of its own
    fields = {"mask_input": dict(Mask.from_array(drawn).rle()), "output": "objects"}
    body = builders.body(data, **fields, pos_points=[])
    del body["obj_bbox"]
    larger = drawn.copy()
    larger[28:30] = 0
    for more, wanted in (({}, drawn), ({"largest": 1}, larger)):
        answer = main.respond(function, body | more)
        assert answer.status == 200, answer.body
        (found,) = json.loads(answer.body)["objects"]
        np.testing.assert_array_equal(Mask.from_rle(found["rle"]).array, wanted)
        assert found["score"] == 1
        assert answer.report["network_ms"] == 0


def test_an_almost_right_request_gets_a_mask_or_a_reason(function: main.Function) -> None:
    statuses: Counter[int] = Counter()

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests(), st.booleans())
    def ask(request: tuple[dict[str, object], bytes], as_text: bool) -> None:
        body, data = request
        got = main.respond(function, json.dumps(body).encode() if as_text else body)
        statuses[got.status] += 1
        assert got.status in {200, 400, 409, 413, 415, 422}, got.report.get("traceback")
        answer = json.loads(got.body, parse_constant=refuse_constant)
        if got.status == 200:
            check_masks(answer, read_pixels(data, max_pixels=MAX_PIXELS).shape[:2])
        else:
            assert set(answer["error"]) == {"code", "message", "field", "hint"}

    ask()
    # Else this would be a test of the refusals only.
    assert statuses[200] > statuses.total() / 4, statuses
