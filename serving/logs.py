"""The function's log lines as a person reads them in a terminal."""

from __future__ import annotations

import logging

__all__ = ["TerminalFormatter"]


class TerminalFormatter(logging.Formatter):
    """Time, level, message, then the line's fields as ``key=value``; a traceback comes last."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; fields are what nuclio-sdk's ``*_with`` methods were given."""
        fields = dict(getattr(record, "with", {}))
        trace = fields.pop("traceback", None)
        words = [
            self.formatTime(record, "%H:%M:%S"),
            record.levelname.lower(),
            record.getMessage(),
            *(f"{key}={_value(value)}" for key, value in fields.items() if value is not None),
        ]
        return " ".join(words) + (f"\n{trace}" if trace else "")


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or not c.isprintable() for c in text) else text
