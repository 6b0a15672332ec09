from __future__ import annotations

import io
import sys

import pytest

from iog.bulk.progress import Progress
from iog.bulk.records import BoxedImage, BoxedObject
from tests.bulk.toy import image, outcomes_of

UNLUCKY = BoxedImage(9, "u.png", "u.png", (BoxedObject(99, (13.0, 1.0, 2.0, 2.0), "annotation"),))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("iog.bulk.progress.time.monotonic", lambda: now)
    with Progress(total=4011, known=10) as shown:
        for number in range(40):  # two objects a second
            now += 1
            shown.done(outcomes_of(image(number)))
            if number == 31:
                shown.done(outcomes_of(UNLUCKY))
        assert capsys.readouterr().err == "70 of 4,011 objects, 2.0/s, time left 0:32:50\n"
        now += 30
        shown.done(outcomes_of(image(0)))
    assert capsys.readouterr().err == "93 of 4,011 objects, 1.2/s, time left 0:55:04, 1 failed\n"


def test_before_anything_is_done_the_time_left_is_unknown() -> None:
    shown = Progress(total=10, known=5)
    assert shown.line(1e9) == "5 of 10 objects, 0.0/s, time left unknown"


def test_in_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress(total=8, known=2) as shown:
        shown.done(outcomes_of(image(1)))
        shown.done(outcomes_of(UNLUCKY))
    last = terminal.getvalue()
    assert "5/8" in last
    assert "1 failed" in last
