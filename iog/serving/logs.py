"""The log of the local host and its workers; IOG_LOG_FORMAT chooses the form of all its lines."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any, TextIO

import nuclio_sdk

__all__ = ["JsonFormatter", "TerminalFormatter", "open_log", "say_ready"]


class _Formatter(logging.Formatter):
    """Dates in UTC, to the millisecond: ``2026-11-25T08:30:00.123Z``."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, *, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What nuclio-sdk's ``*_with`` methods were given, and the traceback of others' records."""
        fields = {**getattr(record, "with", {}), "worker": self._worker}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return {key: value for key, value in fields.items() if value is not None}


class TerminalFormatter(_Formatter):
    """Date and time, level, message, then fields as ``key=value``; a traceback comes last."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        fields = self._fields(record)
        trace = fields.pop("traceback", None)
        words = [
            self.formatTime(record),
            record.levelname.lower(),
            record.getMessage(),
            *(f"{key}={_value(value)}" for key, value in fields.items()),
        ]
        return " ".join(words) + (f"\n{trace}" if trace else "")


class JsonFormatter(_Formatter):
    """One JSON object a line: ``time``, ``level``, ``message``, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return json.dumps(line | self._fields(record), default=str)


def open_log(
    stream: TextIO, *, name: str = "iog", level: int = logging.INFO, worker: int | None = None
) -> nuclio_sdk.Logger:
    """A logger with the methods of Nuclio's, in the form that IOG_LOG_FORMAT chooses.

    Args:
        stream: where the lines go.
        name: of the logger in `logging`; to open it again redirects it.
        level: the lowest to be written.
        worker: the number of the worker that writes them, where there are several.
    """
    logger = nuclio_sdk.Logger(level, name)
    form = JsonFormatter if _as_json() else TerminalFormatter
    logger.set_handler("default", stream, form(worker=worker))
    return logger


def say_ready(url: str) -> None:
    """Print to stdout that requests may come; scripts read the address there."""
    if _as_json():
        open_log(sys.stdout, name="iog-ready").info_with("Ready", url=url)
    else:
        print(f"Ready: {url} (Ctrl-C stops it)", flush=True)


def _as_json() -> bool:
    # A value that is neither is for the function to refuse, with the other settings.
    return os.environ.get("IOG_LOG_FORMAT", "").strip().lower() == "json"


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or not c.isprintable() for c in text) else text
