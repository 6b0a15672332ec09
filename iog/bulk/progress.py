"""How far a run is: a bar where there is a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Final

from iog.bulk.records import Failure, ImageOutcome

__all__ = ["Progress"]

# Between two lines where there is no terminal.
_LINE_SECONDS: Final = 30.0


class Progress:
    """Counts objects, on stderr.

    Args:
        total: objects that want a mask.
        known: of these, the ones that an earlier run has finished.
        bar: show one, where there is a terminal; without, lines.
    """

    def __init__(self, total: int, known: int, *, bar: bool = True) -> None:
        self._total = total
        self._known = known
        self._done = known
        self._failed = 0
        self._start = self._told = time.monotonic()
        self._wanted = bar
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        """Show the bar, if there is a terminal."""
        if self._wanted and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(
                "masks", total=self._total, completed=self._known, told=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar down."""
        if self._bar is not None:
            self._bar.stop()

    def done(self, image: ImageOutcome) -> None:
        """Count the outcomes of an image."""
        self._done += len(image.outcomes)
        self._failed += sum(isinstance(outcome, Failure) for _, outcome in image.outcomes)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, told=self._told_of())
        elif (now := time.monotonic()) - self._told >= _LINE_SECONDS:
            self._told = now
            print(self.line(now), file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """The state as a line of text; ``now`` as ``time.monotonic`` has it."""
        passed = max(now - self._start, 1e-9)
        rate = (self._done - self._known) / passed
        left = _duration((self._total - self._done) / rate) if rate else "unknown"
        return (
            f"{self._done:,} of {self._total:,} objects, {rate:.1f}/s, time left {left}"
            f"{', ' if self._failed else ''}{self._told_of()}"
        )

    def _told_of(self) -> str:
        return f"{self._failed:,} failed" if self._failed else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _bar() -> Any:  # noqa: ANN401 - rich is imported late
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    told = TextColumn("{task.fields[told]}", style="red")
    return Progress(*columns, Rate(), TimeRemainingColumn(), told, console=Console(stderr=True))
