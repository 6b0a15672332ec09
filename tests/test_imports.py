"""What an import costs: a worker's start and the command line wait for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after the statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_function_does_not_import_torch() -> None:
    assert not loaded_by("import main") & {"torch", "scipy", "model_handler", "networks"}


def test_importing_the_model_handler_does_not_import_torch() -> None:
    assert not loaded_by("import model_handler") & {"torch", "openvino", "nncf"}


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "cv2", "scipy", "pydantic", "starlette", "uvicorn", "gdown"}

    assert not loaded_by("import iog.cli") & heavy
