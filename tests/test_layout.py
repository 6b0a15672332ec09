"""The rooms of the project: who may import whom, how long things get, what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from version import VERSION

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "benchmarks",
    "commands",
    "dataloaders",
    "evaluation",
    "networks",
    "serving",
    "training",
)
MODULES = sorted(
    path
    for pattern in ("*.py", *(f"{package}/**/*.py" for package in PACKAGES))
    for path in ROOT.glob(pattern)
)
OURS = {path.stem for path in ROOT.glob("*.py")} | set(PACKAGES)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# What each room may import of ours. `errors` is stdlib only and open to all.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "settings": set(),
    "clients": set(),
    "version": set(),
    "caching": set(),
    "cores": set(),
    "payload": set(),
    "dataloaders": set(),
    "contract": {"payload", "dataloaders.masks", "dataloaders.masktext"},
    "networks": {"dataloaders.geometry"},  # for CropRule: how a row of weights wants its crop
    "predictor": {"caching", "dataloaders", "networks"},
    "photos": {"caching", "dataloaders"},
    "prediction": {"dataloaders", "predictor"},
    "model_handler": {
        "caching",
        "cores",
        "dataloaders",
        "networks",
        "photos",
        "prediction",
        "predictor",
        "settings",
    },
    "main": {"clients", "contract", "model_handler", "payload", "settings", "version"},
    "serving": {"clients", "main"},
}
# Libraries that belong to few rooms.
LIBRARIES: dict[str, set[str]] = {
    "torch": {"benchmarks", "networks", "training", "evaluation"},
    "openvino": {"networks"},
    "torchvision": {"evaluation"},
    "pydantic": {"contract"},
    "orjson": {"contract"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "nuclio_sdk": {"serving", "main"},
    "typer": {"cli", "commands"},
    "rich": {"cli", "commands"},
    "gdown": {"networks"},
    "matplotlib": {"benchmarks", "evaluation", "training"},
}


def room(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else path.stem


def imported(path: Path) -> set[str]:
    """Full names of everything a module imports, inside functions and for types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    allowed = ROOMS.get(room(path))
    if allowed is None:
        return  # training, evaluation and the command line stand on top of everything
    inside = {name for name in imported(path) if name.split(".")[0] in OURS}
    foreign = {
        name
        for name in inside
        if not any((name + ".").startswith(f"{of}.") for of in allowed | {room(path), "errors"})
    }
    # Importing a package to name one of its modules: `from dataloaders import masks`.
    assert not foreign, f"{named(path)} must not import {sorted(foreign)}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {name.split(".")[0] for name in imported(path)}
    strays = {lib for lib, rooms in LIBRARIES.items() if lib in used and room(path) not in rooms}

    assert not strays, f"{named(path)} must not import {sorted(strays)}"


@pytest.mark.parametrize("path", [*MODULES, *(ROOT / "tests").rglob("*.py")], ids=named)
def test_openvino_is_imported_where_its_telemetry_is_stopped(path: Path) -> None:
    used = {name.split(".")[0] for name in imported(path)}

    assert "openvino" not in used or path == ROOT / "networks" / "openvinolibrary.py"


@pytest.mark.parametrize("path", [ROOT / "errors.py", ROOT / "settings.py"], ids=named)
def test_errors_and_settings_need_the_standard_library_only(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}

    assert tops <= sys.stdlib_module_names | {"errors"}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_module_and_package_is_installed() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = configured["tool"]["setuptools"]

    assert sorted(installed["py-modules"]) == sorted(path.stem for path in ROOT.glob("*.py"))
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in MODULES}
    assert sorted(installed["packages"]) == sorted(folders - {"."})
    for package in installed["packages"]:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file()


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

    assert not loaded_by("import cli") & heavy


def test_the_version_is_that_of_the_images_and_the_changelog() -> None:
    assert f"ARG VERSION={VERSION}\n" in (ROOT / "Dockerfile").read_text()
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()
