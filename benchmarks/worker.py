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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.stock import Stock

__all__ = ["main"]


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

    def say(reply: Mapping[str, object]) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        subject = _stock(Path(sys.argv[2])) if sys.argv[1:2] == ["--stock"] else _Ours()
    except Exception as error:
        say({"error": str(error)})
        return
    bodies: dict[str, bytes] = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            say(_memory() if command["do"] == "memory" else _click(subject, command, bodies))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


def _stock(weights: Path) -> Stock:
    from benchmarks.stock import Stock  # torch

    return Stock(weights)


def _click(
    subject: _Ours | Stock, command: dict[str, Any], bodies: dict[str, bytes]
) -> dict[str, object]:
    path = command["body"]
    if path not in bodies:  # read before anything is timed
        bodies.clear()  # a body of 50 megapixels is large
        bodies[path] = Path(path).read_bytes()
    if command.get("forget"):
        subject.forget()
    start = time.perf_counter()
    text, stages = subject.answer(bodies[path])
    reply = {"ms": (time.perf_counter() - start) * 1e3, "stages": stages, **subject.name}
    if command.get("area"):
        reply["area"] = text.count("1", 0, text.index("]]"))
    return reply


def _memory() -> Mapping[str, object]:
    from benchmarks.processes import memory_of  # late: a cold start is measured too

    return memory_of(["self"])


if __name__ == "__main__":
    main()
