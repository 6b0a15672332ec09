"""What the entry point of `iog` sets for the process and its children, and importing does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from iog import cli
from tests.endurance.harness import service
from tests.random_weights import write_random_lite

ROOT = Path(cli.__file__).parents[2]
# An option that ends the command at once; the environment is told after that.
TOLD = """
import os, sys
sys.argv = ["iog", "--version"]
try:
    cli.main()
except SystemExit:
    pass
print(os.environ["OMP_WAIT_POLICY"])
"""


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != name}


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=without("OMP_WAIT_POLICY") | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_threads_that_wait_sleep() -> None:
    assert run(f"from iog import cli\n{TOLD}") == "PASSIVE"


@pytest.mark.parametrize("chosen", ["ACTIVE", "PASSIVE", ""])
def test_what_the_user_chose_stays(chosen: str) -> None:
    assert run(f"from iog import cli\n{TOLD}", OMP_WAIT_POLICY=chosen) == chosen


def test_it_is_set_before_anything_has_threads() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'openvino'}"
    code = f"from iog import cli\n{TOLD}\nprint(*{heavy} & sys.modules.keys())"

    assert run(code) == ""


def test_importing_any_module_leaves_the_environment_alone() -> None:
    commands = sorted((ROOT / "iog" / "cli").glob("[a-z]*.py"))
    modules = [
        "main",
        "model_handler",
        "iog.serving",
        *(f"iog.cli.{path.stem}" for path in commands),
    ]
    imports = "\n".join(f"import {name}" for name in modules)
    changes = "print(*os.environ.items() ^ before.items())"
    code = f"import os\nbefore = dict(os.environ)\n{imports}\n{changes}"

    # OpenCV adds the folder of its own libraries.
    assert not [text for text in re.findall(r"\('(\w+)'", run(code)) if text != "LD_LIBRARY_PATH"]


def test_the_installed_command_enters_there() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert configured["project"]["scripts"] == {"iog": "iog.cli:main"}


def test_workers_inherit_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    weights = write_random_lite(tmp_path / "random.pt", input_size=64)
    with service(tmp_path / "log", "--model", str(weights)) as running:
        (worker,) = running.workers()
        assert psutil.Process(worker.pid).environ()["OMP_WAIT_POLICY"] == "PASSIVE"
