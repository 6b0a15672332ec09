from __future__ import annotations

import json
import re
import typing

import pytest

import errors
from errors import (
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
