"""A worker under measurement: one process that answers requests and times itself.

    python -m benchmarks.worker [--stock WEIGHTS]

It reads one JSON command in each line of stdin and writes one JSON reply in each line of stdout.
Our own function is set by the environment, as anywhere. What it prints besides goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["main"]

Reply = dict[str, Any]


class _Subject(Protocol):
    """What is measured."""

    @property
    def name(self) -> Mapping[str, object]:
        """Engine and precision, and more."""

    def answer(self, body: bytes) -> tuple[str, dict[str, float]]:
        """The answer to a request, and the milliseconds of its stages."""

    def forget(self) -> None:
        """Make the next click a first one."""


class _Ours:
    """The function of this project, from the environment's settings."""

    def __init__(self) -> None:
        import main as function
        from iog.settings import Settings
        from model_handler import ModelHandler

        settings = Settings.from_env()
        self._model = ModelHandler(settings)
        self._model.warm_up()
        self._function = function.Function(settings, self._model)
        self._respond = function.respond
        self.name: Mapping[str, object] = self._model.describe()

    def answer(self, body: bytes) -> tuple[str, dict[str, float]]:
        """The answer to a request, and the milliseconds of its stages."""
        answer = self._respond(self._function, body)
        if answer.status != 200:
            raise RuntimeError(answer.body)
        stages = ("parse", "open", "network", "paste", "write")
        times = {name: answer.report[f"{name}_ms"] for name in stages}
        return answer.body, {name: float(str(ms)) for name, ms in times.items()}

    def forget(self) -> None:
        """Empty the caches."""
        self._model.forget()


def main() -> None:
    """Answer commands until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    weights = sys.argv[2] if sys.argv[1:2] == ["--stock"] else None
    try:
        subject: _Subject = _Ours() if weights is None else _stock(Path(weights))
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=replies, flush=True)
        return
    bodies: dict[str, bytes] = {}
    commands: dict[str, Callable[[_Subject, dict[str, Any], dict[str, bytes]], Reply]] = {
        "click": _click,
        "memory": _memory,
    }
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = commands[command["do"]](subject, command, bodies)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


def _stock(weights: Path) -> _Subject:
    from benchmarks.stock import Stock  # torch

    return Stock(weights)


def _body(command: dict[str, Any], bodies: dict[str, bytes]) -> bytes:
    """The request's bytes, read before anything is timed."""
    path = command["body"]
    if path not in bodies:
        bodies.clear()  # a body of 50 megapixels is large
        bodies[path] = Path(path).read_bytes()
    return bodies[path]


def _click(subject: _Subject, command: dict[str, Any], bodies: dict[str, bytes]) -> Reply:
    body = _body(command, bodies)
    if command.get("forget"):
        subject.forget()
    start = time.perf_counter()
    text, stages = subject.answer(body)
    ms = (time.perf_counter() - start) * 1e3
    reply: Reply = {"ms": ms, "stages": stages, **subject.name}
    if command.get("area"):
        reply["area"] = text.count("1", 0, text.index("]]"))
    return reply


def _memory(subject: _Subject, command: dict[str, Any], bodies: dict[str, bytes]) -> Reply:
    from benchmarks.processes import memory_of  # late: a cold start is measured too

    return dict(memory_of(["self"]))


if __name__ == "__main__":
    main()
