from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from iog.serving.logs import open_log, say_ready


@pytest.fixture(autouse=True)
def text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOG_LOG_FORMAT", raising=False)


def written(message: str, **fields: object) -> str:
    stream = io.StringIO()
    open_log(stream, name="test_logs").warn_with(message, **fields)
    return stream.getvalue()


def moment(time: str) -> datetime:
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def test_a_line_is_date_and_time_level_message_and_fields() -> None:
    before = datetime.now(UTC)
    time, rest = written("Request", status=422, parse_ms=0.25, field=None).split(" ", 1)

    assert abs((moment(time) - before).total_seconds()) < 3600
    assert rest == "warning Request status=422 parse_ms=0.25\n"


def test_where_there_are_several_workers_a_line_names_its_own() -> None:
    stream = io.StringIO()
    open_log(stream, name="test_logs", worker=0).info_with("Request", status=200)

    assert stream.getvalue().endswith("info Request status=200 worker=0\n")


def test_values_that_would_break_the_line_are_quoted() -> None:
    assert written("R", error="two words\nand lines").endswith("error='two words\\nand lines'\n")
    assert written("R", error="").endswith("error=''\n")
    assert written("R", error="\x1b[31m").endswith("error='\\x1b[31m'\n")


def test_a_traceback_keeps_its_lines_and_comes_last() -> None:
    text = written("R", traceback="Traceback:\n  here\n", status=500)

    assert text.splitlines()[0].endswith("warning R status=500")
    assert text.splitlines()[1:3] == ["Traceback:", "  here"]


def test_in_json_a_line_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_LOG_FORMAT", " JSON ")

    text = written("Request", status=422, error="two\nlines", boxes=[[1.5, 2]], field=None)

    assert text.count("\n") == 1
    line = json.loads(text)
    assert moment(line.pop("time"))
    assert line == {
        "level": "warning",
        "message": "Request",
        "status": 422,
        "error": "two\nlines",
        "boxes": [[1.5, 2]],
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_traceback_of_a_librarys_record_is_kept(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("IOG_LOG_FORMAT", form)
    stream = io.StringIO()
    open_log(stream, name="test_logs.library", level=logging.WARNING)
    logger = logging.getLogger("test_logs.library")
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("Exception in the application")
    logger.info("nobody asked")

    text = stream.getvalue()
    assert "ValueError: why" in (json.loads(text)["traceback"] if form == "json" else text)
    assert "nobody asked" not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_scripts_find_the_address_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setenv("IOG_LOG_FORMAT", form)

    say_ready("http://127.0.0.1:8080")

    text = capsys.readouterr().out
    if form == "text":
        assert text == "Ready: http://127.0.0.1:8080 (Ctrl-C stops it)\n"
    else:
        line = json.loads(text)
        assert (line["message"], line["url"]) == ("Ready", "http://127.0.0.1:8080")
