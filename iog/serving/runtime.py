"""What a Nuclio worker does with a call, in this process and this thread.

It keeps the rules of Nuclio's Python wrapper, so that what works here works there: a body is
parsed only when the content type is exactly ``application/json``, malformed JSON stays bytes,
the type of the handler's result decides the kind of answer, and an exception becomes status 500
with its traceback. The types and most of the rules are nuclio-sdk's own.
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

__all__ = ["Answer", "Call", "Refusal", "Runtime", "refusal"]


@dataclass(frozen=True)
class Call:
    """An HTTP request; everything but ``body`` can be written as JSON.

    Attributes:
        headers: names in lower case; the bytes of a name or value as Latin-1 text.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; everything but ``body`` can be written as JSON.

    Attributes:
        report: what the handler left at ``context.user_data.report``, see `main.handler`.
    """

    body: bytes
    status: int
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


class Refusal(Answer):
    """An answer of the host itself, which no worker has logged."""


def refusal(status: int, code: str, message: str, *, hint: str = "") -> Refusal:
    """An answer of the host itself, in the form of the handler's errors.

    With status 503 it tells the client to send the same request again in a second.
    """
    error = {"code": code, "message": message, "field": None, "hint": hint}
    headers = {"Retry-After": "1"} if status == 503 else {}
    report = {"code": code, "error": message, "hint": hint or None}
    body = json.dumps({"error": error}).encode()
    return Refusal(body, status, "application/json", headers, report)


class Runtime:
    """Runs ``init_context`` and ``handler``, one call at a time.

    Args:
        init_context: called once with the context.
        handler: called with the context and an event.
        log: where the function's log lines go.
        number: the worker's number, which the context holds.
        named: whether the function's log lines have it as the field ``worker``.
    """

    def __init__(
        self,
        init_context: Callable[[nuclio_sdk.Context], None],
        handler: Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object],
        *,
        log: TextIO,
        number: int = 0,
        named: bool = False,
    ) -> None:
        self._named = number if named else None
        self._init_context = init_context
        self._handler = handler
        self._context = nuclio_sdk.Context(
            logger=None,
            platform=nuclio_sdk.Platform("local"),
            worker_id=str(number),
            trigger=nuclio_sdk.TriggerInfo("http", "local"),
        )
        self.log_to(log)

    def log_to(self, log: TextIO) -> None:
        """Write the function's log lines there from now on."""
        self._context.logger = open_log(log, name="nuclio_sdk", worker=self._named)

    def start(self) -> dict[str, Any]:
        """Run ``init_context``; whatever it raises is raised here.

        Returns:
            What the function left at ``context.user_data.about``: model, engine, version.
        """
        self._init_context(self._context)
        return dict(getattr(self._context.user_data, "about", {}))

    def answer(self, call: Call) -> Answer:
        """Answer a call; whatever the handler raises becomes an answer too."""
        self._context.user_data.report = {}
        try:
            output = self._handler(self._context, _event(call))
            # A list is a batch to Nuclio, of which a single request gets the first answer.
            single = output[0] if isinstance(output, list) else output
            response = nuclio_sdk.Response.from_entrypoint_output(Encoder().encode, single)
        except BaseException as error:  # SystemExit too: Nuclio's worker survives it
            trace = traceback.format_exc()
            self._context.logger.error_with(f"The handler raised {error!r}", traceback=trace)
            text = f"The handler raised {error!r}\n{trace}"
            return Answer(text.encode(errors="replace"), 500, "text/plain")
        return Answer(
            _body(response),
            response["status_code"],
            response["content_type"],
            # Nuclio's processor drops header values that are no strings.
            headers={k: v for k, v in response["headers"].items() if isinstance(v, str)},
            report=self._context.user_data.report,
        )


def _event(call: Call) -> nuclio_sdk.Event:
    """The event as the wrapper makes it from the processor's message.

    Raises:
        UnicodeDecodeError: a header's value is no UTF-8, as in the wrapper.
    """
    headers = {
        name.title(): value.encode("latin-1").decode() for name, value in call.headers.items()
    }
    content_type = headers.get("Content-Type", "")
    message = {
        "body": call.body,
        "content_type": "",  # set below: nuclio-sdk logs a line of its own about malformed JSON
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


def _body(response: Mapping[str, str]) -> bytes:
    if response["body_encoding"] == "base64":
        return base64.b64decode(response["body"])
    return response["body"].encode(errors="replace")
