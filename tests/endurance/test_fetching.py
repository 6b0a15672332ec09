"""Fetching weights where everything goes wrong, in real processes."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from iog.errors import WeightsError
from iog.models.fetching import fetch
from tests.endurance.harness import FULL, ROOT, figure

PIECE = 1 << 18


class Mirror:
    """Serves one file, piece by piece; ``go`` lets it send what comes after the first half."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.go = threading.Event()
        self.go.set()
        self.sent = 0
        self.starts: list[int] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/SMALL.pth"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = re.findall(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start, size = int(wanted[0]) if wanted else 0, len(self.content)
        self.starts.append(start)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.send_header("ETag", '"one"')
        request.end_headers()
        try:
            for at in range(start, size, PIECE):
                if at > size // 2:
                    self.go.wait(200)
                request.wfile.write(self.content[at : at + PIECE])
                self.sent += PIECE
        except OSError:
            return  # the other side was killed


@pytest.fixture
def mirror(small_model: Path) -> Iterator[Mirror]:
    mirror = Mirror(small_model.read_bytes())
    thread = threading.Thread(target=mirror.server.serve_forever, args=(0.01,))
    thread.start()
    yield mirror
    mirror.go.set()
    mirror.server.shutdown()
    thread.join()
    mirror.server.server_close()


def start(folder: Path, mirror: Mirror, most: int | None = None) -> subprocess.Popen[str]:
    arguments = [str(folder), mirror.address, *([] if most is None else [str(most)])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.endurance.fetching_process", *arguments],
        cwd=ROOT,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begun(folder: Path) -> bool:
    """Whether a part of the file is on the disk: what was sent may still be on its way."""
    return any(part.stat().st_size for part in folder.rglob("*.part"))


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=250)
    return process.returncode, out.strip(), errors.strip()


@pytest.mark.skipif(not FULL, reason="make endurance; tests/networks/test_fetching.py is short")
def test_killed_resumed_and_two_at_once(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    mirror.go.clear()
    first = start(folder, mirror)
    end = time.monotonic() + 200
    while mirror.sent < len(mirror.content) // 2 or not begun(folder):
        assert time.monotonic() < end
        assert first.poll() is None, finish(first)
        time.sleep(0.02)
    first.kill()
    finish(first)
    assert not (folder / "SMALL.pth").exists()

    mirror.go.set()
    both = [start(folder, mirror), start(folder, mirror)]
    outcomes = [finish(process) for process in both]

    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert {out for _, out, _ in outcomes} == {str(folder / "SMALL.pth")}
    assert (folder / "SMALL.pth").read_bytes() == mirror.content
    assert [path.name for path in folder.rglob("*.part")] == []
    # Each download asks for the file, and one that goes on then asks for the rest.
    first_start, asked_again, resumed_at = mirror.starts
    assert first_start == asked_again == 0
    assert resumed_at > 0
    figure(
        "faults",
        fault="fetching killed half-way, then two processes at once",
        outcome=f"resumed at {resumed_at / len(mirror.content):.0%}, downloaded once, "
        "both have the file",
    )


@pytest.mark.skipif(not FULL, reason="make endurance; a folder that takes nothing is short")
def test_a_disk_that_is_full(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "weights"

    code, out, errors = finish(start(folder, mirror, most=len(mirror.content) // 3))

    assert code == 1
    assert out == ""
    assert "Traceback" not in errors
    assert re.search(r"SMALL\.pth .*(too large|No space)", errors.splitlines()[-1]), errors
    assert not (folder / "SMALL.pth").exists()
    # With room again, the same command succeeds.
    assert finish(start(folder, mirror))[0] == 0
    assert (folder / "SMALL.pth").read_bytes() == mirror.content
    figure(
        "faults",
        fault="disk full while fetching",
        outcome="one sentence, nothing in place; the same command succeeds with room again",
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")],
)
def test_a_folder_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(WeightsError, match=words) as caught:
        fetch("iog-pascal", weights_dir=tmp_path / "weights")
    assert "\n" not in str(caught.value)
    figure("faults", fault=f"weights folder: {words.lower()}", outcome="one sentence")
