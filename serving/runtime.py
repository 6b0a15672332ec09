"""One Nuclio worker inside this process.

It keeps the rules of Nuclio's Python wrapper, so that what works here works there: a body is
decoded only when the content type is exactly ``application/json``, malformed JSON stays bytes,
the kind of answer follows from the type of what the handler returns, and an exception becomes
status 500 with its traceback. The types and most of the rules are nuclio-sdk's own.
"""

from __future__ import annotations

import base64
import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TextIO

import nuclio_sdk
from nuclio_sdk.json_encoder import Encoder

from serving.logs import TerminalFormatter

__all__ = ["Call", "Reply", "Runtime"]


@dataclass(frozen=True)
class Call:
    """An HTTP request as it came in; ``headers`` are raw bytes, in their order."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    method: str = "POST"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, and the handler's report on the request (see `main.handler`)."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


class Runtime:
    """Runs ``init_context`` and ``handler`` in one thread of its own, one call at a time.

    It is always the same thread, so that a compute library keeps one pool of threads for it.

    Args:
        init_context: called once with the context.
        handler: called with the context and an event.
        log: where the function's log lines go.
    """

    def __init__(
        self,
        init_context: Callable[[nuclio_sdk.Context], None],
        handler: Callable[[nuclio_sdk.Context, nuclio_sdk.Event], object],
        *,
        log: TextIO,
    ) -> None:
        logger = nuclio_sdk.Logger(logging.INFO)
        logger.set_handler("default", log, TerminalFormatter())
        self._init_context = init_context
        self._handler = handler
        self._context = nuclio_sdk.Context(
            logger=logger,
            platform=nuclio_sdk.Platform("local"),
            worker_id="0",
            trigger=nuclio_sdk.TriggerInfo("http", "local"),
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="worker")

    def start(self) -> None:
        """Run ``init_context`` and wait for it; whatever it raises is raised here."""
        self._thread.submit(self._init_context, self._context).result()

    def submit(self, call: Call) -> Future[Reply]:
        """Queue a call; the result is always a reply."""
        return self._thread.submit(self._answer, call)

    def close(self) -> None:
        """Wait for the call in progress and end the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _answer(self, call: Call) -> Reply:
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
    message = {
        "body": call.body,
        "content_type": headers.get("Content-Type", ""),
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
    return nuclio_sdk.Event.deserialize(message, kind=nuclio_sdk.EventDeserializerKinds.msgpack)


def _body(reply: Mapping[str, str]) -> bytes:
    if reply["body_encoding"] == "base64":
        return base64.b64decode(reply["body"])
    return reply["body"].encode(errors="replace")
