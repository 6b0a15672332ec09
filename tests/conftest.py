"""Fixtures of more than one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# `make test` takes the first, `make test-all` the second; a busy machine is no failure in either.
settings.register_profile("short", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=300, deadline=None)
settings.load_profile("short")


@pytest.fixture(scope="session")
def plain_environment() -> dict[str, str]:
    """This environment with the settings a user starts with, on one CPU thread."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("IOG_")}
    return {**clean, "IOG_THREADS": "1", "IOG_DEVICE": "cpu"}


@pytest.fixture(scope="session")
def bundled_server(plain_environment: dict[str, str]) -> Iterator[str]:
    """The address of a real `iog serve` with the bundled model."""
    server = subprocess.Popen(
        [sys.executable, "-m", "iog", "serve", "--port", "0"],
        cwd=ROOT,
        env=plain_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    with server.stdout:
        ready = re.match(r"Ready: (http://\S+)", server.stdout.readline())
        assert ready is not None
        yield ready.group(1)
        server.send_signal(signal.SIGINT)
        assert server.wait(120) == 0
