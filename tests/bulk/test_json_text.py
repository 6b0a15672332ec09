from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog.bulk import json_text
from iog.bulk.json_text import members, read, with_members
from iog.errors import DatasetError

Values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=[1, 7, 1 << 20])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces so small that every value is cut off somewhere."""
    monkeypatch.setattr(json_text, "_CHUNK", request.param)
    return int(request.param)


def _write(folder: Path, content: str | bytes) -> Path:
    path = folder / "some.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.usefixtures("chunk")
class TestMembers:
    @pytest.mark.parametrize("indent", [None, 2])
    def test_every_value_lies_where_it_is_said(self, tmp_path: Path, indent: int | None) -> None:
        content = {
            "info": {"name": "öß", "text": 'a "quoted" \\ brace } ]'},
            "images": [{"id": 1}, {"id": 2.5, "file_name": "日本.jpg"}],
            "empty": [],
            "number": 12345,
            "annotations": [[1, [2]], "text", -1.5e3, None, True, {"a": {"b": []}}],
        }
        path = _write(tmp_path, json.dumps(content, indent=indent, ensure_ascii=False))
        data = path.read_bytes()
        found: dict[str, Any] = {}
        for key, start, end, value, element in members(path):
            assert value == read(data[start:end])
            if element:
                found.setdefault(key, []).append(value)
            else:
                found[key] = value
        assert found == {key: value for key, value in content.items() if value != []}

    def test_all_bytes_are_hashed(self, tmp_path: Path) -> None:
        path = _write(tmp_path, '{"a": [1, 2], "b": 3}\n\n')
        digest = hashlib.sha256()
        assert len(list(members(path, seen_by=digest))) == 3
        assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_text_that_is_not_utf_8_is_told(self, tmp_path: Path) -> None:
        path = _write(tmp_path, '{"a": ["ö", "ü"]}'.encode("latin-1"))
        with pytest.raises(DatasetError, match="at byte 7: a text is not UTF-8"):
            list(members(path))

    def test_a_byte_order_mark_is_passed_over(self, tmp_path: Path) -> None:
        path = _write(tmp_path, b'\xef\xbb\xbf{"a": 1}')
        assert [each.value for each in members(path)] == [1]

    @pytest.mark.parametrize(
        ("content", "wanted"),
        [
            ("", "ends too soon, after 0 bytes"),
            ('{"a": [1, 2', "ends too soon, after 11 bytes"),
            ('{"a": [{"b": "text', "ends too soon"),
            ('{"a": [{"b": 1}', "ends too soon, after 15 bytes"),
            ('{"a": 1', "ends too soon, after 7 bytes"),
            ("[1]", "at byte 0"),
            ('{"a": [1 2]}', "at byte 9"),
            ('{"a": [{"b" 1}]}', "at byte 12"),
            ('{"a": 1} x', "at byte 9: something follows"),
            ("{a: 1}", "at byte 1"),
            ('{"a": ' + "9" * 5000 + "}", "at byte 6"),
            ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ],
    )
    def test_what_is_no_json_is_told_with_its_place(
        self, tmp_path: Path, content: str, wanted: str
    ) -> None:
        path = _write(tmp_path, content)
        with pytest.raises(DatasetError, match=wanted):
            list(members(path))


def test_an_early_mistake_is_told_without_reading_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "_CHUNK", 100)
    path = _write(tmp_path, '{"a": [{"b": oops}, ' + "1, " * 10_000)
    digest = hashlib.sha256()
    with pytest.raises(DatasetError, match="at byte 13"):
        list(members(path, seen_by=digest))
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()[:100]).hexdigest()


class TestWithMembers:
    def test_all_else_stays_as_it_stands(self) -> None:
        data = '{ "id":1,  "ünk" : 1.50, "area": 7 ,\n "big": 123456789012345678901234567890 }'
        found = with_members(data.encode(), {"area": 8, "score": 0.5})
        assert found.decode() == (
            '{ "id":1,  "ünk" : 1.50, "area": 8 ,\n '
            '"big": 123456789012345678901234567890, "score": 0.5 }'
        )

    def test_an_empty_object_gets_them_too(self) -> None:
        assert json.loads(with_members(b"{ }", {"a": 1, "b": []})) == {"a": 1, "b": []}

    def test_nan_of_others_is_kept(self) -> None:
        assert with_members(b'{"score": NaN, "a": 1}', {"a": 2}) == b'{"score": NaN, "a": 2}'

    @given(
        st.dictionaries(st.text(), Values, max_size=5),
        st.dictionaries(st.sampled_from(["area", "bbox", "score"]), Values),
        st.sampled_from([None, 1]),
        st.booleans(),
    )
    def test_it_is_what_a_dictionary_would_be(
        self, content: dict[str, Any], changes: dict[str, Any], indent: int | None, plain: bool
    ) -> None:
        text = json.dumps(content, indent=indent, ensure_ascii=plain)
        try:
            data = text.encode()
        except UnicodeEncodeError:  # half of a character, which only an escape can say
            data = json.dumps(content, indent=indent).encode()
        assert json.loads(with_members(data, changes)) == {**content, **changes}
