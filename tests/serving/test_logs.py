from __future__ import annotations

import io
import logging

import nuclio_sdk

from serving.logs import TerminalFormatter


def written(message: str, **fields: object) -> str:
    stream = io.StringIO()
    logger = nuclio_sdk.Logger(logging.INFO, "test_logs")
    logger.set_handler("default", stream, TerminalFormatter())
    logger.warn_with(message, **fields)
    return stream.getvalue()


def test_a_line_is_time_level_message_and_fields() -> None:
    time, rest = written("Request", status=422, parse_ms=0.25, field=None).split(" ", 1)

    assert len(time) == len("12:34:56")
    assert rest == "warning Request status=422 parse_ms=0.25\n"


def test_values_that_would_break_the_line_are_quoted() -> None:
    assert written("R", error="two words\nand lines").endswith("error='two words\\nand lines'\n")
    assert written("R", error="").endswith("error=''\n")
    assert written("R", error="\x1b[31m").endswith("error='\\x1b[31m'\n")


def test_a_traceback_keeps_its_lines_and_comes_last() -> None:
    text = written("R", traceback="Traceback:\n  here\n", status=500)

    assert text.splitlines()[0].endswith("warning R status=500")
    assert text.splitlines()[1:3] == ["Traceback:", "  here"]
