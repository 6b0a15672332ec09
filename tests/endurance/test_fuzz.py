"""Requests of every shape to the real server: each gets an answer, soon, and never a 500."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import builders
from tests.endurance.harness import FULL, Service, check_answer, figure

CORPUS = Path(__file__).parent / "corpus"
FIELDS = ("image", "obj_bbox", "pos_points", "neg_points", "threshold", "output")
MOST_CPU_S = 1.0
READABLE = {kind: make() for kind, make in builders.READABLE.items()}
ODD_NUMBERS = (0.0, -0.0, 5e-324, 1e-30, 1e9, -1e9, 1e18, 1e308, 2**53, 2**63, 2**64, 10**30)

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(ODD_NUMBERS)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
CONTENT_TYPES = st.sampled_from(
    ["application/json", "application/json; charset=utf-8", "text/plain", "image/png", ""]
)


def json_bodies() -> st.SearchStrategy[bytes]:
    """JSON of any shape, and objects with the right names."""
    named = st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES)
    return (JSON_VALUES | named).map(lambda value: json.dumps(value).encode())


def random_bodies() -> st.SearchStrategy[bytes]:
    """Bytes, alone and as the image."""
    return st.binary(max_size=400) | st.binary(max_size=400).map(_with_image)


def _with_image(data: bytes) -> bytes:
    return json.dumps(builders.body(data)).encode()


@st.composite
def mutated_requests(draw: st.DrawFn) -> bytes:
    """A good request with a field replaced, a number changed, or bytes of its text changed."""
    kind = draw(st.sampled_from(("field", "number", "text")))
    request = builders.body(READABLE["png-L"])
    if kind == "field":
        request[draw(st.sampled_from(FIELDS))] = draw(JSON_VALUES)
        return json.dumps(request).encode()
    if kind == "number":
        near = st.floats(-20, 80) | st.integers(0, 50)
        numbers = draw(st.lists(near, min_size=8, max_size=8))
        if draw(st.booleans()):
            odd = st.sampled_from(ODD_NUMBERS) | st.floats()
            numbers[draw(st.integers(0, 7))] = draw(odd)
        points = [numbers[n : n + 2] for n in range(0, 8, 2)]
        several = draw(st.integers(1, 2))
        request["obj_bbox"] = points[:2] * several
        request["pos_points"], request["neg_points"] = points[2:3], points[3:]
        return json.dumps(request).encode()
    text = json.dumps(request).encode()
    return changed(draw, text)


def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some changed, taken out or put in, and perhaps the end cut off."""
    content = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        some = draw(st.binary(min_size=1, max_size=4))
        match draw(st.sampled_from(("change", "take", "put"))):
            case "change":
                content[at : at + len(some)] = some
            case "take":
                del content[at : at + draw(st.integers(1, 40))]
            case _:
                content[at:at] = some
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@st.composite
def mutated_images(draw: st.DrawFn) -> bytes:
    """A good request with a damaged file of one of the kinds that are read."""
    data = READABLE[draw(st.sampled_from(sorted(READABLE)))]
    if draw(st.booleans()):  # the first bytes say what the rest means
        head = draw(st.integers(8, 120))
        return _with_image(changed(draw, data[:head]) + data[head:])
    return _with_image(changed(draw, data))


SHAPES: dict[str, tuple[st.SearchStrategy[bytes], int]] = {
    "JSON of every shape": (json_bodies(), 5000),
    "random bytes": (random_bodies(), 3000),
    "good requests, changed": (mutated_requests(), 5000),
    "image files, damaged": (mutated_images(), 8000),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_comes_is_answered_within_a_second(small_service: Service, shape: str) -> None:
    strategy, many = SHAPES[shape]
    processes = small_service.processes()
    before = {worker.pid for worker in small_service.workers()}
    statuses: Counter[int] = Counter()
    slowest = 0.0

    @settings(
        max_examples=many if FULL else 60,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(body=strategy, content_type=CONTENT_TYPES)
    def ask(body: bytes, content_type: str) -> None:
        nonlocal slowest
        start = small_service.cpu_s(processes)
        answer = small_service.post(body, **{"Content-Type": content_type})
        seconds = small_service.cpu_s(processes) - start
        statuses[answer.status_code] += 1
        slowest = max(slowest, seconds)
        try:
            check_answer(answer)
            assert seconds < MOST_CPU_S
        except AssertionError:
            _keep(body)
            raise

    ask()
    assert {worker.pid for worker in small_service.workers()} == before, "a worker died"
    assert statuses.total() >= (many if FULL else 60)
    figure(
        "fuzz",
        shape=shape,
        cases=statuses.total(),
        statuses=dict(sorted(statuses.items())),
        slowest_cpu_s=round(slowest, 3),
        died=0,
    )


def _keep(body: bytes) -> None:
    """A failure goes into the corpus, for every later run of the tests, once it is committed."""
    (CORPUS / (hashlib.sha256(body).hexdigest()[:16] + ".bin")).write_bytes(body)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_the_corpus_is_answered(small_service: Service, path: Path) -> None:
    start = small_service.cpu_s()
    check_answer(small_service.post(path.read_bytes()))
    assert small_service.cpu_s() - start < MOST_CPU_S
