from __future__ import annotations

import copy
import json
import pickle

import pytest

from iog import errors
from iog.errors import (
    InternalError,
    MalformedRequest,
    RequestError,
)


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
