"""A function that does what it is told, for worker processes: answer, sleep, or die."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import nuclio_sdk


def init_context(context: nuclio_sdk.Context) -> None:
    if os.environ.get("TOY_HANGS"):
        time.sleep(600)
    wanted = os.environ.get("TOY_NEEDS")
    if wanted and not Path(wanted).exists():
        raise RuntimeError("not yet")
    context.user_data.calls = 0
    context.user_data.about = {"model": "toy", "pid": os.getpid()}


def handler(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    context.user_data.calls += 1
    context.user_data.report = {"calls": context.user_data.calls}
    told = event.body.decode()
    if told == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if told == "sleep":
        time.sleep(600)
    while told == "spin":
        pass
    if told == "environment":
        return context.Response(body=os.environ["TOY_SAYS"], status_code=201)
    return context.Response(
        body=told if told.startswith("x") else str(os.getpid()),
        headers={"X-Worker": context.worker_id, "X-Sent": str(event.get_header("x-sent"))},
        status_code=201,
    )
