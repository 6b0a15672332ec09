"""The raw text of a request into Python values: JSON and base64.

`iog.api.request` says what a value means; this module only reads, and names the spot where reading
failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

import pybase64
from pydantic_core import from_json

from iog.errors import MalformedRequest

__all__ = ["HINT_IMAGE", "json_object", "misspelt", "show", "unpack_base64"]

HINT_BODY = 'Send a JSON object such as {"image": "<base64>", "obj_bbox": [[x1, y1], [x2, y2]]}.'
HINT_IMAGE = "Send the bytes of the image file as a base64 string, not its path, address or pixels."
SHOWN_CHARACTERS = 60
# Of a body with very many keys the first strangers tell enough.
LOOKED_AT_KEYS = 20
# `bbox` is close to `obj_bbox` and `points` to `pos_points`; none of the keys that CVAT has ever
# added is that close to any of ours.
CLOSE_ENOUGH = 0.7

# All that `str.split` takes for white space, to delete it without a list of what lies between:
# of short lines that list is many times the text.
_WHITE_SPACE = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/", _WHITE_SPACE)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def json_object(body: object) -> dict[str, Any]:
    """The body as a dict, whatever form the runtime handed over.

    Args:
        body: a dict as it is; JSON text as UTF-8 bytes or str, with or without byte order mark.

    Raises:
        MalformedRequest: empty, not UTF-8, not JSON, or JSON of another kind than an object.
    """
    if isinstance(body, bytes | bytearray | memoryview | str):
        body = _parse_json(bytes(body) if isinstance(body, memoryview) else body)
    elif body is None:
        raise MalformedRequest("empty_body", "The body is empty.", hint=HINT_BODY)
    if not isinstance(body, dict):
        raise MalformedRequest(
            "not_an_object", f"The body is {show(body)}, not a JSON object.", hint=HINT_BODY
        )
    return body


def _parse_json(body: bytes | bytearray | str) -> object:
    try:
        # Several times as fast where a long string makes up most of the text.
        return from_json(body, cache_strings=False)
    except (ValueError, TypeError):  # TypeError: a text with lone surrogates
        # The standard parser, like Nuclio's, has the last word, so that both ways a body can
        # arrive accept the same text; and it says what is wrong.
        return _parse_json_like_nuclio(body)


def _parse_json_like_nuclio(body: bytes | bytearray | str) -> object:
    try:
        text = body if isinstance(body, str) else body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(
            "invalid_encoding",
            f"The body is not UTF-8 text (at byte {error.start}).",
            hint=HINT_BODY,
        ) from None
    # Windows editors begin a file with a byte order mark, which json.loads refuses.
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise MalformedRequest("empty_body", "The body is empty.", hint=HINT_BODY)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} (line {error.lineno}, column {error.colno})"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError:  # Python refuses to convert integers of thousands of digits
        problem = "it holds a number with too many digits"
    raise MalformedRequest("invalid_json", f"The body is not JSON: {problem}.", hint=HINT_BODY)


def misspelt(fields: Mapping[str, object], known: Iterable[str]) -> list[str]:
    """Sentences about keys that nobody knows but that are close to a known one.

    Printable ASCII, each short. Other unknown keys are what clients add for themselves.

    Args:
        fields: the object.
        known: the keys that are read.
    """
    plain = {_plain(key): key for key in known}
    strangers = (key for key in fields if key not in plain.values())
    sentences = []
    for key in islice(strangers, LOOKED_AT_KEYS):
        shown = ascii(key)
        if len(shown) > SHOWN_CHARACTERS:
            continue
        nearest = get_close_matches(_plain(key), plain, n=1, cutoff=CLOSE_ENOUGH)
        if nearest:
            sentences.append(f"{shown} is ignored; did you mean '{plain[nearest[0]]}'?")
    return sentences


def _plain(key: str) -> str:
    """A key as far as people remember it: negPoints, neg-points and neg_points are one."""
    return re.sub(r"[\W_]", "", key).lower()


def unpack_base64(text: str) -> bytes:
    """The bytes behind the base64 text under `image`.

    Beyond standard base64 it takes what browsers and shells produce: a data-URL prefix, line
    breaks, the URL-safe alphabet, missing padding.

    Raises:
        MalformedRequest: not base64, or nothing in it.
    """
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:  # not ASCII, or not strictly base64
        data = pybase64.b64decode(_tidy(text), validate=True)
    if not data:
        raise MalformedRequest("empty_image", "`image` is empty.", field="image", hint=HINT_IMAGE)
    return data


def _tidy(text: str) -> bytes:
    """Standard base64 of the text, or the error that says where it is none."""
    prefix, comma, payload = text.partition(",")
    if comma and prefix.lstrip().lower().startswith("data:"):
        if not prefix.rstrip().lower().endswith(";base64"):
            raise _bad_base64(f"it is a data URL without base64, {show(prefix)}")
        text = payload
    text = text.translate(_TO_STANDARD_ALPHABET).rstrip("=")
    stranger = _NOT_BASE64.search(text)
    if stranger:
        raise _bad_base64(f"{show(stranger.group())} at character {stranger.start()}")
    if len(text) % 4 == 1:
        raise _bad_base64(f"cut off after {len(text)} characters")
    return (text + "=" * (-len(text) % 4)).encode("ascii")


def _bad_base64(problem: str) -> MalformedRequest:
    return MalformedRequest(
        "invalid_base64", f"`image` is not base64: {problem}.", field="image", hint=HINT_IMAGE
    )


def show(value: object) -> str:
    """A value as it may appear in a message: short, printable, containers only by their kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            cut = value[:SHOWN_CHARACTERS]
            return repr(cut) + ("..." if len(value) > len(cut) else "")
        case float():
            return repr(value)
        case int():
            # Python refuses to print integers of more than 4300 digits.
            return str(value) if abs(value) < 10**15 else "an integer of more than 15 digits"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"
