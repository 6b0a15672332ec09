"""Nothing leaves the machine: every way of running, watched by an audit hook in each process."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from tests.builders import body
from tests.random_weights import write_random_lite
from tests.spy import SPY

ROOT = Path(__file__).parent.parent

FUNCTION = """
import sys, threading
import main
from iog.serving.runtime import Call, Runtime
runtime = Runtime(main.init_context, main.handler, log=sys.stderr)
runtime.start()
reply = runtime.answer(Call(sys.stdin.buffer.read()))
print(reply.status, [thread.name for thread in threading.enumerate()])
"""

EXPORT_ONNX = """
import os, sys
from pathlib import Path
from iog.engines.onnx_export import export_onnx
export_onnx(os.environ["IOG_MODEL"], weights_dir=Path(os.environ["IOG_WEIGHTS_DIR"]), threads=1)
print("onnxruntime" in sys.modules, os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def environment(tmp_path: Path, home: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(SPY)
    (tmp_path / "spy.log").touch()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(tmp_path),
        "SPY_LOG": str(tmp_path / "spy.log"),
        "IOG_MODEL": str(write_random_lite(tmp_path / "random.pt", input_size=64)),
        "IOG_WEIGHTS_DIR": str(tmp_path / "weights"),
        "IOG_DEVICE": "cpu",
        "IOG_THREADS": "1",
    }


@pytest.fixture
def reached(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: (tmp_path / "spy.log").read_text().splitlines()


def python(*arguments: str, environment: dict[str, str], given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_watch_sees_what_it_looks_for(
    environment: dict[str, str], reached: Callable[[], list[str]]
) -> None:
    script = """
import socket
for host in "127.0.0.1", "192.0.2.1":
    socket.getaddrinfo(host, 9)
    socket.socket(type=socket.SOCK_DGRAM).connect((host, 9))
"""
    python("-c", script, environment=environment)

    assert reached() == ["socket.getaddrinfo 192.0.2.1", "socket.connect 192.0.2.1"]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_export_and_function_reach_nobody(
    engine: str, environment: dict[str, str], home: Path, reached: Callable[[], list[str]]
) -> None:
    if engine == "openvino":
        assert PathFinder.find_spec("openvino_telemetry"), "without it this test would show nothing"
        python("-m", "iog", "export", environment["IOG_MODEL"], environment=environment)
    answer = python(
        "-c", FUNCTION, environment={**environment, "IOG_ENGINE": engine}, given=json.dumps(body())
    )

    assert answer.splitlines()[-1] == "200 ['MainThread']"
    assert reached() == []
    assert list(home.iterdir()) == []


def test_an_onnx_export_reaches_nobody(
    environment: dict[str, str], home: Path, reached: Callable[[], list[str]]
) -> None:
    # ONNX Runtime sends from C++, where the watch sees nothing: this switch stops it.
    assert python("-c", EXPORT_ONNX, environment=environment).splitlines()[-1] == "True 1"
    assert reached() == []
    assert list(home.iterdir()) == []


def test_the_onnxruntime_of_the_tests_cannot_send() -> None:
    files = [Path(str(f.locate())) for f in importlib.metadata.files("onnxruntime") or []]
    libraries = [path for path in files if ".so" in path.suffixes]
    assert len(libraries) >= 2
    for path in libraries:
        assert b"ORT_DISABLE_TELEMETRY" not in path.read_bytes(), "from 1.29 on it can"


@pytest.mark.long
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_server_and_its_workers_reach_nobody(
    engine: str, environment: dict[str, str], home: Path, reached: Callable[[], list[str]]
) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "iog", "serve", "--port", "0", "--workers", "2"],
        cwd=ROOT,
        env={**environment, "IOG_ENGINE": engine},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    with server.stdout:
        try:
            ready = re.match(r"Ready: (http://\S+)", server.stdout.readline())
            assert ready is not None
            asked = urllib.request.Request(ready.group(1), json.dumps(body()).encode())
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 200
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0

    assert reached() == []
    assert list(home.iterdir()) == []
