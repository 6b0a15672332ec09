from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iog.api.body import json_object, misspelt, show, unpack_base64
from iog.api.request import FIELDS
from iog.errors import MalformedRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refused(body: object) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        json_object(body)
    assert caught.value.status == 400
    assert caught.value.field is None
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1},
        '{"a": 1}',
        b'{"a": 1}',
        bytearray(b'{"a": 1}'),
        memoryview(b'{"a": 1}'),
        b'\xef\xbb\xbf{"a": 1}',
        '\ufeff{"a": 1}',
        b' \r\n\t{"a": 1}\n',
        b'{"a": 2, "a": 1}',
    ],
)
def test_every_form_of_an_object_is_read(body: object) -> None:
    assert json_object(body) == {"a": 1}


@pytest.mark.parametrize("body", [None, b"", "", b"  \n", "\ufeff"])
def test_an_empty_body(body: object) -> None:
    assert refused(body).code == "empty_body"


@pytest.mark.parametrize("body", [b"\xff\xfe{", b'{"a": "\xe9"}', '{"a": 1}'.encode("utf-16")])
def test_a_body_that_is_not_utf_8(body: bytes) -> None:
    assert refused(body).code == "invalid_encoding"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "column 2"),
        (b"{'a': 1}", "line 1"),
        (b'{"a": 1,\n"b"}', "line 2"),
        (b"image=abc", "not JSON"),
        (b"\x00\x00", "not JSON"),
        pytest.param(b"[" * 200_000, "nested too deeply", id="deep-list"),
        pytest.param(b'{"a": ' * 100_000, "nested too deeply", id="deep-object"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "too many digits", id="long-integer"),
    ],
)
def test_what_is_not_json(body: bytes, named: str) -> None:
    error = refused(body)
    assert error.code == "invalid_json"
    assert named in error.message


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"[]", "a list"),
        (b'"text"', "'text'"),
        (b"12", "12"),
        (b"NaN", "nan"),
        (b"true", "true"),
        (b"null", "null"),
        ([{"image": "x"}], "a list"),
        (3.5, "3.5"),
        (True, "true"),
        (object(), "object"),
    ],
)
def test_json_of_another_kind(body: object, named: str) -> None:
    error = refused(body)
    assert error.code == "not_an_object"
    assert named in error.message


@given(st.binary(max_size=200) | st.text(max_size=200) | json_values)
@example("\ud800")
@example(b'{"\\ud800": "\\udfff"}')
def test_nothing_but_an_object_or_a_refusal_comes_out(body: object) -> None:
    try:
        assert isinstance(json_object(body), dict)
    except MalformedRequest as error:
        # Whatever the input was, the answer can be written as UTF-8.
        json.dumps(error.as_dict(), ensure_ascii=False).encode("utf-8")


@given(st.binary(min_size=1, max_size=300))
def test_base64_round_trip(data: bytes) -> None:
    assert unpack_base64(base64.b64encode(data).decode()) == data


@given(st.binary(min_size=1, max_size=300))
def test_the_ways_to_write_base64_give_the_same_bytes(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    safe = base64.urlsafe_b64encode(data).decode()
    wrapped = base64.encodebytes(data).decode()
    expected = unpack_base64(text)
    for other in (
        safe,
        wrapped,
        wrapped.replace("\n", "\r\n"),
        text.rstrip("="),
        safe.rstrip("="),
        f"  {text}\n",
        f"data:image/png;base64,{text}",
        f"DATA:image/jpeg;charset=utf-8;BASE64,{wrapped}",
    ):
        assert unpack_base64(other) == expected


def test_all_white_space_is_left_out() -> None:
    spaces = [character for character in map(chr, range(0x110000)) if character.isspace()]
    assert len(spaces) > 20
    assert unpack_base64("A" + "".join(spaces) + "AAA") == unpack_base64("AAAA")


def test_white_space_takes_no_more_memory_than_the_text() -> None:
    text = "AA " * 500_000
    tracemalloc.start()
    try:
        data = unpack_base64(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data) == 750_000
    assert peak < 4 * len(text)


@pytest.mark.parametrize("text", ["", "   \n", "data:image/png;base64,", "====", "="])
def test_an_empty_image(text: str) -> None:
    with pytest.raises(MalformedRequest, match="empty") as caught:
        unpack_base64(text)
    assert (caught.value.code, caught.value.field) == ("empty_image", "image")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("http://example.org/a.png", "':' at character 4"),
        ("C:\\photo.png", "':' at character 1"),
        ("AAA=AAAA", "'=' at character 3"),
        ("AAAA*AAA", "'*' at character 4"),
        ("AAAAä", "'ä' at character 4"),
        pytest.param("AAAA\ud800", "at character 4", id="surrogate"),
        ("AAAA\x00", "at character 4"),
        ("AAAAA", "cut off after 5 characters"),
        ("data:image/svg+xml,<svg/>", "data URL without base64"),
        ("data:image/png;base64", "':'"),
    ],
)
def test_what_is_not_base64(text: str, named: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        unpack_base64(text)
    assert (caught.value.code, caught.value.field) == ("invalid_base64", "image")
    assert named in caught.value.message
    assert "path" in caught.value.hint
    caught.value.message.encode("utf-8")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        data = unpack_base64(text)
    except MalformedRequest as error:
        assert len(error.message) < 200  # noqa: PT017 - both outcomes are right
    else:
        assert data


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (False, "false"),
        (12, "12"),
        (-(10**40), "an integer of more than 15 digits"),
        (1.5, "1.5"),
        (float("inf"), "inf"),
        ("a" * 61, "'" + "a" * 60 + "'..."),
        ("line\nbreak", r"'line\nbreak'"),
        ([1, 2], "a list"),
        ({"a": 1}, "an object"),
        (b"", "of type bytes"),
    ],
)
def test_values_are_shown_briefly(value: object, shown: str) -> None:
    assert show(value) == shown


def test_an_integer_that_python_will_not_print_is_shown() -> None:
    assert show(10**5000) == "an integer of more than 15 digits"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("negpoints", "neg_points"),
        ("posPoints", "pos_points"),
        ("pos-points", "pos_points"),
        ("points", "pos_points"),
        ("bbox", "obj_bbox"),
        ("Image", "image"),
        ("treshold", "threshold"),
        ("outputs", "output"),
    ],
)
def test_a_key_that_is_close_to_a_known_one_is_told_with_it(key: str, meant: str) -> None:
    fields = {"image": "", key: 1, "frame": 2}

    assert misspelt(fields, FIELDS) == [f"'{key}' is ignored; did you mean '{meant}'?"]


CVATS_OWN = (
    "frame", "job", "task", "type", "roi", "text_prompts", "quality", "startswith_box", "function",
    "mapping", "cleanup", "state", "shape", "bounds", "labels", "conv_mask_to_poly",
)  # fmt: skip


@pytest.mark.parametrize("key", [*CVATS_OWN, *FIELDS, "", "_", "box", "x" * 10_000])
def test_other_keys_are_nobodys_mistake(key: str) -> None:
    assert misspelt({key: 1}, FIELDS) == []


@given(st.dictionaries(st.text() | st.just("imag\ud800\r\né"), st.none()))
def test_sentences_fit_into_a_header_whatever_the_keys(fields: dict[str, None]) -> None:
    for sentence in misspelt(fields, FIELDS):
        assert sentence.isascii()
        assert sentence.isprintable()


def test_very_many_keys_are_not_all_told() -> None:
    fields = {f"image{number}": None for number in range(5_000)}

    assert len(misspelt(fields, FIELDS)) == 20
