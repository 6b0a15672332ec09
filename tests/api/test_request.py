from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog.api import request as requests
from iog.api.request import MAX_BOXES, MAX_POINTS
from iog.errors import MalformedRequest, RequestError, UnusableRequest
from iog.settings import OUTPUTS
from tests import builders

BOX = (10.0, 20.0, 30.5, 40.25)
NAN, INFINITY = math.nan, math.inf
# Too long for a readable test id, so these go by their names.
HUGE = pytest.param(10**400, id="10**400")
VAST = pytest.param(10**5000, id="10**5000")


def parse(**fields: object) -> requests.Request:
    return requests.parse(builders.body(**fields))


def malformed(**fields: object) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        parse(**fields)
    assert caught.value.status == 400
    assert caught.value.hint
    return caught.value


def unusable(**fields: object) -> UnusableRequest:
    with pytest.raises(UnusableRequest) as caught:
        parse(**fields)
    assert caught.value.status == 422
    assert caught.value.hint
    return caught.value


# --- accepted --------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    image = builders.photo("JPEG")
    request = requests.parse(
        builders.body(
            image,
            obj_bbox=[[10, 20], [30.5, 40.25]],
            pos_points=[[15, 25]],
            neg_points=[[1.5, 2.5], [3, 4]],
            threshold=0.4,
            output=["rle", "png"],
        )
    )
    assert request.image == image
    assert request.boxes == (BOX,)
    assert request.pos_points == ((15.0, 25.0),)
    assert request.neg_points == ((1.5, 2.5), (3.0, 4.0))
    assert request.threshold == 0.4
    assert request.outputs == ("rle", "png")


@pytest.mark.parametrize("form", [dict, json.dumps, lambda body: json.dumps(body).encode()])
def test_a_body_is_a_dict_or_text_or_bytes(form: Any) -> None:  # noqa: ANN401
    body = builders.body()
    assert requests.parse(form(body)) == requests.parse(body)


@pytest.mark.parametrize(
    "box",
    [
        [[10, 20], [30.5, 40.25]],
        [10, 20, 30.5, 40.25],
        [[10, 20, 30.5, 40.25]],
        [[30.5, 40.25], [10, 20]],
        [[30.5, 20], [10, 40.25]],
        [30.5, 40.25, 10, 20],
        ((10, 20), (30.5, 40.25)),
    ],
)
def test_every_form_of_one_box(box: object) -> None:
    assert parse(obj_bbox=box).boxes == (BOX,)


@pytest.mark.parametrize(
    "boxes",
    [
        [[1, 2], [3, 4], [5, 6], [7, 8]],
        [[3, 4], [1, 2], [7, 6], [5, 8]],
        [[1, 2, 3, 4], [5, 6, 7, 8]],
        [[3, 4, 1, 2], [7, 8, 5, 6]],
    ],
)
def test_several_boxes(boxes: object) -> None:
    assert parse(obj_bbox=boxes).boxes == ((1, 2, 3, 4), (5, 6, 7, 8))


def test_boxes_may_reach_beyond_any_image() -> None:
    assert parse(obj_bbox=[-50, -1e6, 1e6, 5]).boxes == ((-50, -1e6, 1e6, 5),)


@pytest.mark.parametrize("box", [None, ..., []])
def test_without_a_box_two_negative_points_are_one(box: object) -> None:
    request = parse(obj_bbox=box, neg_points=[[30, 5], [10, 25], [3, 4]])
    assert (request.boxes, request.neg_points) == (((10, 5, 30, 25),), ((3, 4),))


def test_with_a_box_negative_points_stay_clicks() -> None:
    request = parse(obj_bbox=[1, 2, 3, 4], neg_points=[[30, 5], [10, 25]])
    assert (request.boxes, request.neg_points) == (((1, 2, 3, 4),), ((30, 5), (10, 25)))


@pytest.mark.parametrize("name", ["pos_points", "neg_points"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        (..., ()),
        ([], ()),
        ([[1, 2]], ((1, 2),)),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [-3.5, 4e3]], ((1, 2), (-3.5, 4000))),
    ],
)
def test_every_form_of_points(name: str, value: object, expected: object) -> None:
    assert getattr(parse(**{name: value}), name) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, None), (..., None), (0.25, 0.25)])
def test_threshold(value: object, expected: float | None) -> None:
    assert parse(threshold=value).threshold == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ("rle",)),
        (..., ("rle",)),
        ([], ("rle",)),
        ("png", ("png",)),
        (["shapes", "mask", "shapes"], ("shapes", "mask")),
        (list(OUTPUTS), OUTPUTS),
    ],
)
def test_output(value: object, expected: tuple[str, ...]) -> None:
    assert requests.parse(builders.body(output=value), default_outputs=("rle",)).outputs == expected


def test_the_options_are_off_unless_asked_for() -> None:
    for fields in ({}, dict.fromkeys(("form", "tolerance", "largest", "fill_holes"))):
        request = parse(**fields)
        assert (request.form, request.tolerance) == ("rle", None)
        assert (request.largest, request.fill_holes) == (None, None)
    request = parse(form="polygon", tolerance=0, largest=2, fill_holes=64.5)
    assert (request.form, request.tolerance) == ("polygon", 0)
    assert (request.largest, request.fill_holes) == (2, 64.5)


def test_unknown_keys_are_ignored() -> None:
    known = parse()
    assert parse(text_prompts=["a cat"], frame=3, job=None, model_config={}, roi=[1]) == known


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().threshold = 0.1  # type: ignore[misc]


# --- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b"", b"{", b"\xff", [], "[]", 3, b"null", b"[" * 10**5])
def test_bodies_that_are_no_object(body: object) -> None:
    with pytest.raises(MalformedRequest):
        requests.parse(body)


@pytest.mark.parametrize(
    ("value", "code", "named"),
    [
        (..., "missing_field", "is missing"),
        (None, "invalid_type", "null"),
        (12, "invalid_type", "12"),
        ([1, 2, 3], "invalid_type", "a list"),
        ({"data": "AAAA"}, "invalid_type", "an object"),
        (True, "invalid_type", "true"),
        ("", "empty_image", "empty"),
        ("not base64!", "invalid_base64", "'!'"),
    ],
)
def test_image(value: object, code: str, named: str) -> None:
    error = malformed(image=value)
    assert (error.code, error.field) == (code, "image")
    assert named in error.message


@pytest.mark.parametrize("name", ["pos_points", "neg_points"])
@pytest.mark.parametrize(
    "value",
    [True, False, "12", "", None, NAN, INFINITY, -INFINITY, 1e308, -1e10, HUGE, VAST, [], {}],
)
def test_a_coordinate_is_a_finite_number(name: str, value: object) -> None:
    error = malformed(**{name: [[1, value]]})
    assert (error.code, error.field) == ("invalid_number", f"{name}[0][1]")
    assert f"`{name}[0][1]`" in error.message
    assert malformed(**{name: [[1, 2], [3, 4], [value, 6]]}).field == f"{name}[2][0]"
    assert malformed(**{name: [1, value]}).field == f"{name}[1]"


@pytest.mark.parametrize("value", [True, "12", None, NAN, INFINITY, 1e308, HUGE, [], {}])
def test_a_box_coordinate_is_a_finite_number(value: object) -> None:
    assert malformed(obj_bbox=[[1, 2], [value, 4]]).field == "obj_bbox[1][0]"
    assert malformed(obj_bbox=[1, 2, value, 4]).field == "obj_bbox[2]"
    assert malformed(obj_bbox=[[1, 2, 3, 4], [1, 2, 3, value]]).field == "obj_bbox[1][3]"


def test_messages_say_what_came() -> None:
    assert "is '12', not a number" in malformed(pos_points=[["12", 2]]).message
    assert "is true, not a number" in malformed(pos_points=[[True, 2]]).message
    assert "is null, not a number" in malformed(pos_points=[[None, 2]]).message
    assert "is nan" in malformed(pos_points=[[NAN, 2]]).message
    assert "is 1e+308" in malformed(pos_points=[[1e308, 2]]).message


@pytest.mark.parametrize("name", ["pos_points", "neg_points"])
@pytest.mark.parametrize(
    ("value", "suffix", "named"),
    [
        ("1,2", "", "'1,2', not a list"),
        (5, "", "5, not a list"),
        ({"x": 1, "y": 2}, "", "an object, not a list"),
        ([[1, 2], 3], "[1]", "3, not a list of numbers."),
        ([[1, 2], {"x": 1}], "[1]", "an object, not a list of numbers."),
        ([{"x": 1}], "[0]", "an object, not a list of numbers."),
        ([{"x": 1, "y": 2}, {"x": 3, "y": 4}], "[0]", "an object, not a list of numbers."),
        ([[1]], "[0]", "1 number instead of 2"),
        ([[]], "[0]", "0 numbers instead of 2"),
        ([[1, 2, 3]], "[0]", "3 numbers instead of 2"),
        ([1, 2, 3, 4], "", "4 numbers instead of 2"),
        ([1], "", "1 number instead of 2"),
    ],
)
def test_points_of_another_shape(name: str, value: object, suffix: str, named: str) -> None:
    error = malformed(**{name: value})
    assert (error.code, error.field) == ("invalid_point", name + suffix)
    assert named in error.message
    assert "[x, y]" in error.hint


@pytest.mark.parametrize(
    ("value", "suffix", "named"),
    [
        ("1,2,3,4", "", "not a list"),
        (7, "", "7, not a list"),
        ({"x": 1}, "", "an object, not a list"),
        ([[1, 2]], "", "1 corner;"),
        ([[1, 2], [3, 4], [5, 6]], "", "3 corners;"),
        ([1, 2, 3], "", "3 numbers instead of 4"),
        ([1, 2, 3, 4, 5, 6, 7, 8], "", "8 numbers instead of 4"),
        ([[1, 2, 3], [4, 5, 6]], "[0]", "3 numbers instead of 2"),
        ([[1, 2, 3, 4], [5, 6]], "[1]", "2 numbers instead of 4"),
        ([[1, 2], [3, 4, 5, 6]], "[1]", "4 numbers instead of 2"),
        ([[]], "[0]", "0 numbers instead of 2"),
        ([[1, 2], None], "[1]", "null, not a list of numbers."),
        ([[1, 2, 3, 4], 5], "[1]", "5, not a list of numbers."),
        ([{"x": 1}], "[0]", "an object, not a list of numbers."),
    ],
)
def test_boxes_of_another_shape(value: object, suffix: str, named: str) -> None:
    error = malformed(obj_bbox=value)
    assert (error.code, error.field) == ("invalid_box", "obj_bbox" + suffix)
    assert named in error.message
    assert "[[x1, y1], [x2, y2]]" in error.hint


@pytest.mark.parametrize("value", [0, 1, -0.5, 1.5, 50, NAN, INFINITY, True, "0.5", [], {}, HUGE])
def test_a_threshold_is_a_probability(value: object) -> None:
    error = malformed(threshold=value)
    assert (error.code, error.field) == ("invalid_threshold", "threshold")
    assert "between 0 and 1" in error.hint


@pytest.mark.parametrize("value", ["masks", "", "MASK", ["mask", "svg"], ["mask", 3], [[]], 3, {}])
def test_an_unknown_output_lists_the_known_ones(value: object) -> None:
    error = malformed(output=value)
    assert (error.code, error.field) == ("unknown_output", "output")
    assert all(name in error.hint for name in OUTPUTS)


@pytest.mark.parametrize("box", [None, ..., []])
@pytest.mark.parametrize("negatives", [None, [], [[1, 2]]])
def test_a_missing_box(box: object, negatives: object) -> None:
    error = unusable(obj_bbox=box, neg_points=negatives)
    assert (error.code, error.field) == ("missing_box", "obj_bbox")


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [[5, 5], [5, 9]], [[1, 2], [3, 4], [5, 6], [9, 6]]])
def test_a_box_without_area(box: object) -> None:
    error = unusable(obj_bbox=box)
    assert (error.code, error.field) == ("empty_box", "obj_bbox")


def test_a_box_without_area_out_of_negative_points() -> None:
    error = unusable(obj_bbox=None, neg_points=[[5, 5], [5, 9]])
    assert (error.code, error.field) == ("empty_box", "neg_points")


def test_the_thinnest_box_is_a_box() -> None:
    assert parse(obj_bbox=[5, 5, 5.001, 6]).boxes == ((5, 5, 5.001, 6),)


@pytest.mark.parametrize("name", ["pos_points", "neg_points"])
def test_the_number_of_points_is_limited(name: str) -> None:
    assert len(getattr(parse(**{name: [[1, 2]] * MAX_POINTS}), name)) == MAX_POINTS
    error = unusable(**{name: [[1, 2]] * (MAX_POINTS + 1)})
    assert (error.code, error.field) == ("too_many_points", name)
    assert str(MAX_POINTS) in error.hint


def test_the_number_of_boxes_is_limited() -> None:
    corners, quads = [[1, 2], [3, 4]], [[1, 2, 3, 4]]
    for boxes in (corners, quads):
        assert len(parse(obj_bbox=boxes * MAX_BOXES).boxes) == MAX_BOXES
        error = unusable(obj_bbox=boxes * (MAX_BOXES + 1))
        assert (error.code, error.field) == ("too_many_boxes", "obj_bbox")
        assert str(MAX_BOXES) in error.hint


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("form", "svg", "unknown_form", "'svg', which is none of the forms"),
        ("form", ["rle"], "unknown_form", "a list, which is none"),
        ("tolerance", -0.5, "invalid_tolerance", "-0.5, which is out of range"),
        ("tolerance", NAN, "invalid_tolerance", "nan, which is out of range"),
        ("tolerance", "1", "invalid_tolerance", "'1', not a number"),
        ("largest", 0, "invalid_largest", "0, which is out of range"),
        ("largest", 1.5, "invalid_largest", "1.5, not a whole number"),
        ("largest", True, "invalid_largest", "true, not a whole number"),
        ("fill_holes", -1, "invalid_fill_holes", "-1, which is out of range"),
        ("fill_holes", [], "invalid_fill_holes", "a list, not a number"),
        pytest.param("largest", 10**5000, "invalid_largest", "out of range", id="largest-vast"),
        pytest.param("tolerance", 10**400, "invalid_tolerance", "15 digits", id="tolerance-huge"),
    ],
)
def test_options_that_cannot_be_used(name: str, value: object, code: str, words: str) -> None:
    error = malformed(**{name: value})
    assert (error.code, error.field) == (code, name)
    assert words in error.message


def test_all_errors_are_counted_and_the_first_is_told() -> None:
    error = malformed(image=3, pos_points=[["a", None]], threshold=7)
    assert error.field == "image"
    assert "3 more to correct, next is pos_points[0][0]" in error.hint


def test_big_values_are_not_repeated_in_messages() -> None:
    long = "x" * 100_000
    for fields in (
        {"image": long + "!"},
        {"image": "data:" + long + ","},
        {"pos_points": [[long, 1]]},
        {"pos_points": long},
        {"output": long},
        {"threshold": long},
    ):
        error = malformed(**fields)
        assert len(error.message) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
numbers = st.integers(-50, 100) | st.floats(-50, 100) | st.just(True) | st.none()
coordinates = st.recursive(numbers, lambda inner: st.lists(inner, max_size=5), max_leaves=10)


@given(
    st.dictionaries(
        st.sampled_from(["pos_points", "neg_points", "obj_bbox", "threshold", "output", "image"]),
        json_values | coordinates | st.sampled_from(OUTPUTS),
    )
)
def test_any_json_is_a_request_or_a_named_error(fields: dict[str, object]) -> None:
    try:
        request = parse(**fields)
    except RequestError as error:
        message = json.dumps(error.as_dict(), ensure_ascii=False).encode("utf-8")
        assert len(message) < 1000
        return
    flat = [*sum(request.boxes, ()), *sum(request.pos_points, ()), *sum(request.neg_points, ())]
    assert all(type(number) is float and math.isfinite(number) for number in flat)
    assert request.boxes
    assert all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in request.boxes)
