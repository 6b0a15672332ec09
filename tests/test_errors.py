from __future__ import annotations

import copy
import json
import pickle
import re
import typing

import pytest

from iog import errors
from iog.errors import (
    InternalError,
    MalformedRequest,
    NotAnImage,
    RequestError,
    SettingsError,
    TooManyPixels,
    UnusableRequest,
    WeightsError,
)

STATUS = {
    MalformedRequest: 400,
    TooManyPixels: 413,
    NotAnImage: 415,
    UnusableRequest: 422,
    InternalError: 500,
}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_each_class_has_its_status(kind: type[RequestError], status: int) -> None:
    error = kind("invalid_point", "Something is wrong.", field="pos_points[1]", hint="Do this.")
    assert error.status == status
    assert isinstance(error, RequestError)
    assert str(error) == "Something is wrong."


def test_the_answer_names_code_message_field_and_hint() -> None:
    error = MalformedRequest("invalid_point", "Wrong.", field="pos_points[0][1]", hint="Send two.")
    assert json.loads(json.dumps(error.as_dict())) == {
        "error": {
            "code": "invalid_point",
            "message": "Wrong.",
            "field": "pos_points[0][1]",
            "hint": "Send two.",
        }
    }


CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "Code"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_the_way_to_another_process(
    kind: type[Exception], protocol: int
) -> None:
    if issubclass(kind, RequestError):
        error: Exception = kind("invalid_box", "Wrong.", field="obj_bbox[1]", hint="Send two.")
    else:
        error = kind("Wrong.")
    error.add_note("seen in a worker")

    got = pickle.loads(pickle.dumps(error, protocol))

    assert type(got) is kind
    assert str(got) == "Wrong."
    assert got.args == error.args
    assert vars(got) == vars(error)
    assert vars(copy.copy(error)) == vars(error)
    if isinstance(error, RequestError):
        assert isinstance(got, RequestError)
        assert got.as_dict() == error.as_dict()
        assert got.status == error.status


def test_every_error_is_named_for_the_tests_above() -> None:
    here = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert here == set(CLASSES)


def test_an_internal_error_survives_without_arguments() -> None:
    assert pickle.loads(pickle.dumps(InternalError())).as_dict() == InternalError().as_dict()


def test_field_and_hint_may_be_absent() -> None:
    error = MalformedRequest("empty_body", "The body is empty.")
    assert error.as_dict()["error"]["field"] is None
    assert error.as_dict()["error"]["hint"] == ""


def test_an_internal_error_says_nothing_of_its_cause() -> None:
    error = InternalError()
    assert error.code == "internal_error"
    assert error.as_dict()["error"]["field"] is None
    assert "log" in error.hint


def test_start_up_errors_are_no_request_errors() -> None:
    for kind in (SettingsError, WeightsError):
        assert not issubclass(kind, RequestError)
    assert issubclass(SettingsError, ValueError)
    assert issubclass(WeightsError, RuntimeError)


def test_codes_are_snake_case_and_unique() -> None:
    codes = typing.get_args(errors.Code)
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", code) for code in codes)


def test_the_tree_in_the_docstring_names_every_class() -> None:
    text = errors.__doc__ or ""
    for name in set(errors.__all__) - {"Code"}:
        assert name in text
    for kind, status in STATUS.items():
        (line,) = [line for line in text.splitlines() if f"- {kind.__name__} " in line]
        assert str(status) in line
