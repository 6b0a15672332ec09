"""What a Nuclio worker does with a call, in this process and this thread.

It keeps the rules of Nuclio's Python wrapper, so that what works here works there: a body is
decoded only when the content type is exactly ``application/json``, malformed JSON stays bytes,
the kind of answer follows from the type of what the handler returns, and an exception becomes
status 500 with its traceback. The types and most of the rules are nuclio-sdk's own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import nuclio_sdk
from nuclio_sdk.json_encoder import Encoder

from iog.serving.logs import open_log

__all__ = ["Call", "Refusal", "Reply", "Runtime", "refusal"]


@dataclass(frozen=True)
class Call:
    """An HTTP request as it came in; ``headers`` are raw bytes, in their order."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    method: str = "POST"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> dict[str, object]:
        """Everything but the body as JSON values; `of` is the way back."""
        headers = [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers
        ]
        return {
            "headers": headers,
            "method": self.method,
            "path": self.path,
            "query": dict(self.query),
        }

    @classmethod
    def of(cls, header: Mapping[str, Any], body: bytes) -> Call:
        """The call of a `header` and its body."""
        raw = (
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in header["headers"]
        )
        return cls(body, tuple(raw), header["method"], header["path"], header["query"])


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, and the handler's report on the request (see `main.handler`)."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def header(self) -> dict[str, Any]:
        """Everything but the body, as keyword arguments that are JSON values."""
        return {
            "status": self.status,
            "content_type": self.content_type,
            "headers": dict(self.headers),
            "report": dict(self.report),
        }


class Refusal(Reply):
    """An answer of the host itself; nobody has told of it in the log."""


def refusal(status: int, code: str, message: str, *, hint: str = "") -> Refusal:
    """An answer of the host itself, in the form of the handler's errors.

    With status 503 it says that the same request may be sent again in a second.
    """
    error = {"code": code, "message": message, "field": None, "hint": hint}
    headers = {"Retry-After": "1"} if status == 503 else {}
    report = {"code": code, "error": message, "hint": hint or None}
    body = json.dumps({"error": error}).encode()
    return Refusal(status, body, "application/json", headers, report)


class Runtime:
    """Runs ``init_context`` and ``handler``, one call at a time.

    Args:
        init_context: called once with the context.
        handler: called with the context and an event.
        log: where the function's log lines go.
        number: the worker's, which the context holds.
    """

    def __init__(
        self,
        init_context: Callable[[nuclio_sdk.Context], None],
        handler: Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object],
        *,
        log: TextIO,
        number: int = 0,
    ) -> None:
        self._init_context = init_context
        self._handler = handler
        self._context = nuclio_sdk.Context(
            logger=open_log(log, name="nuclio_sdk"),
            platform=nuclio_sdk.Platform("local"),
            worker_id=str(number),
            trigger=nuclio_sdk.TriggerInfo("http", "local"),
        )

    def start(self) -> dict[str, Any]:
        """Run ``init_context``; whatever it raises is raised here.

        Returns:
            What the function left at ``context.user_data.about``: model, engine, version.
        """
        self._init_context(self._context)
        return dict(getattr(self._context.user_data, "about", {}))

    def answer(self, call: Call) -> Reply:
        """Answer a call; whatever the handler raises becomes a reply too."""
        self._context.user_data.report = {}
        try:
            output = self._handler(self._context, _event(call))
            # A list is a batch to Nuclio, of which a single request gets the first answer.
            single = output[0] if isinstance(output, list) else output
            reply = nuclio_sdk.Response.from_entrypoint_output(Encoder().encode, single)
        except BaseException as error:  # SystemExit too: Nuclio's worker survives it
            trace = traceback.format_exc()
            self._context.logger.error_with(f"The handler raised {error!r}", traceback=trace)
            text = f"The handler raised {error!r}\n{trace}"
            return Reply(500, text.encode(errors="replace"), "text/plain")
        return Reply(
            status=reply["status_code"],
            body=_body(reply),
            content_type=reply["content_type"],
            # Nuclio's processor drops header values that are no strings.
            headers={k: v for k, v in reply["headers"].items() if isinstance(v, str)},
            report=self._context.user_data.report,
        )


def _event(call: Call) -> nuclio_sdk.Event:
    """The event as the wrapper makes it from the processor's message."""
    headers = {name.decode().title(): value.decode() for name, value in call.headers}
    content_type = headers.get("Content-Type", "")
    message = {
        "body": call.body,
        "content_type": "",  # told below: nuclio-sdk writes a line of its own about malformed JSON
        "trigger": {"kind": "http", "name": "local"},
        "fields": dict(call.query),
        "headers": headers,
        "id": str(uuid.uuid4()),
        "method": call.method,
        "path": call.path,
        "size": len(call.body),
        "timestamp": int(time.time()),
        "url": call.path,
        "shard_id": 0,
        "num_shards": 0,
        "type": "",
        "type_version": "",
        "version": "",
    }
    event = nuclio_sdk.Event.deserialize(message, kind=nuclio_sdk.EventDeserializerKinds.msgpack)
    event.content_type = content_type
    if content_type == "application/json":
        with contextlib.suppress(Exception):  # malformed JSON stays bytes; the handler says so
            event.body = json.loads(call.body.decode("utf-8"))
    return event


def _body(reply: Mapping[str, str]) -> bytes:
    if reply["body_encoding"] == "base64":
        return base64.b64decode(reply["body"])
    return reply["body"].encode(errors="replace")
