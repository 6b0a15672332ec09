"""What the headers of a request tell: the answer its client can read, and the request's id.

CVAT names itself in ``User-Agent: CVAT/2.73.0 python-requests/2.33.1``, when it calls the function
as well as when it asks Nuclio's dashboard to, which hands the request's headers on.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping

__all__ = ["IMAGE", "REQUEST_ID", "WARNING", "outputs_for", "request_id"]

REQUEST_ID = "X-Request-ID"
"""The header by which a request is found again in the logs of all it went through."""
IMAGE = "X-IOG-Image"
"""The header of an answer that names its image: ``image_sha256`` of the next request."""
WARNING = "X-IOG-Warning"
"""The header of an answer that says what was ignored."""

_SHAPES_SINCE = (2, 60, 0, True)
"""CVAT's first release that reads ``shapes``; the last entry says that it is a release."""
# Six digits are more than any version has, and few enough to convert.
_CVAT = re.compile(r"CVAT/(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?!\d)(\S*)", re.ASCII)

_SANE_ID = re.compile(r"[!-~]{1,128}")


def outputs_for(headers: object) -> tuple[str, ...]:
    """The outputs of a request that names none.

    ``shapes`` for CVAT 2.60 and later: a few kilobytes, where the mask of a large picture takes
    seconds. ``mask`` for older CVAT, which reads nothing else, and for everybody else.

    Args:
        headers: as Nuclio's wrapper hands them over: a dict or pairs; names in any case; text or,
            where it was told not to decode, bytes. Anything else counts as no headers.
    """
    version = _cvat_version(_header(headers, "user-agent"))
    return ("mask",) if version is None or version < _SHAPES_SINCE else ("shapes",)


def request_id(headers: object) -> str:
    """The id that the request brought along, or a new one.

    What is long or would need quoting in a log line or a header is not taken over.

    Args:
        headers: in any of the forms of `outputs_for`.
    """
    brought = _header(headers, REQUEST_ID.lower())
    return brought if _SANE_ID.fullmatch(brought) else uuid.uuid4().hex


def _cvat_version(user_agent: str) -> tuple[int, int, int, bool] | None:
    """Major, minor, patch, and whether it is a release and not what leads to one."""
    found = _CVAT.match(user_agent)
    if found is None:
        return None
    major, minor, patch, suffix = found.groups()
    return int(major), int(minor), int(patch or 0), not suffix


def _header(headers: object, wanted: str) -> str:
    """The value of a header, empty where there is none."""
    pairs: Iterable[object] = headers.items() if isinstance(headers, Mapping) else ()
    if isinstance(headers, list | tuple):
        pairs = headers
    for pair in pairs:
        if isinstance(pair, list | tuple) and len(pair) == 2:
            name, value = map(_text, pair)
            if name.lower() == wanted:
                return value.strip()
    return ""


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("latin-1")  # the encoding of headers: no byte is refused
    return value if isinstance(value, str) else ""
