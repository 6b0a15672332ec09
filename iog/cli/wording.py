"""The errors of requests in the words of the command line."""

from __future__ import annotations

import re
from typing import Final

from iog.errors import MalformedRequest, RequestError

__all__ = ["in_words"]

_OPTIONS: Final = {
    "image": "The image",
    "obj_bbox": "--box",
    "pos_points": "--point",
    "neg_points": "--negative",
    "threshold": "--threshold",
    "form": "--form",
    "tolerance": "--tolerance",
    "largest": "--largest",
    "fill_holes": "--fill-holes",
}
_HINTS: Final = {
    "image": "Give an image file.",
    "obj_bbox": "Give two corners in image pixels, such as --box 120,80,430,390.",
    "pos_points": "Give a place in image pixels, such as --point 260,240.",
    "neg_points": "Give a place in image pixels, such as --negative 260,240.",
    "threshold": "Give a probability between 0 and 1, such as --threshold 0.5, or leave it out.",
}
"""In place of the hints that show JSON."""
_FIELD: Final = re.compile(rf"`({'|'.join(_OPTIONS)})(?:\[\d+\])*`")


def in_words(error: RequestError) -> str:
    """What was wrong and what to give instead; options stand in place of a request's fields."""
    message = _FIELD.sub(lambda found: _OPTIONS[found[1]], error.message)
    field = (error.field or "").partition("[")[0]
    hint = _HINTS.get(field, error.hint) if isinstance(error, MalformedRequest) else error.hint
    hint = re.sub(r"^Send\b", "Give", hint)
    for elsewhere in (", base64-encoded", " on the server"):
        hint = hint.replace(elsewhere, "")
    return f"{message} {hint}".rstrip()
