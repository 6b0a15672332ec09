"""The package as `pip install .` gives it: away from the checkout, with its model inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import iog
from iog import __version__

ROOT = Path(__file__).parents[1]
PHOTOS = {"astronaut", "cat", "coffee"}
PYTHON_LINES = """
import sys, iog
assert "torch" not in sys.modules
model = iog.load("iog-lite")
model.set_image(sys.argv[1])
mask = model.predict(box=(5, 4, 370, 512), point_coords=[(190, 320)], point_labels=[1])
print(mask.array.shape, mask.array[320, 190], mask.array[60, 12], mask.score > 0.9)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, as building writes beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "runs", "*.egg-info", "*.pth")
    shutil.copytree(ROOT, folder / "sources", ignore=unwanted)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "-w", folder, folder / "sources"], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A fresh virtual environment with the wheel, which sees the packages of this one."""
    folder = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    # Python runs no .pth file of a folder that comes from a .pth file, so the editable install of
    # this environment has no part in it.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def run(installed: Path, folder: Path, *command: str | Path) -> str:
    """Run a command of the environment in a folder; what it prints."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("IOG_", "PYTHON"))}
    done = subprocess.run(
        [installed / "bin" / command[0], *command[1:]],
        cwd=folder,
        env=plain | {"IOG_THREADS": "1", "IOG_WEIGHTS_DIR": str(folder / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    others = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}

    assert modules == {"main.py", "model_handler.py", "networks", "dataloaders", "iog"}
    folders = {Path(name).parts[1] for name in others}
    assert {Path(name).parts[0] for name in others} == {"iog"}
    assert folders == {"bulk", "models", "serving", "training"}


def test_the_page_is_in_it_file_by_file(wheel: Path) -> None:
    page = ROOT / "iog" / "serving" / "static"
    names = {str(path.relative_to(ROOT)) for path in page.rglob("*") if path.is_file()}

    assert {f"iog/serving/static/examples/{photo}.jpg" for photo in PHOTOS} <= names
    assert names <= set(zipfile.ZipFile(wheel).namelist())


def test_the_photographs_are_those_of_the_examples() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.jpg")} == PHOTOS
    for photo in (ROOT / "examples").glob("*.jpg"):
        assert photo.resolve() == ROOT / "iog" / "serving" / "static" / "examples" / photo.name


def test_the_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    assert __version__ in run(installed, tmp_path, "iog", "--version")


def test_the_import_is_that_of_the_wheel_and_imports_no_torch(
    installed: Path, tmp_path: Path
) -> None:
    code = "import sys, iog, main; print(iog.__file__, main.__file__, 'torch' in sys.modules)"
    package, function, torch = run(installed, tmp_path, "python", "-c", code).split()

    assert Path(package).is_relative_to(installed)
    assert Path(function).is_relative_to(installed)
    assert torch == "False"


def test_a_photograph_is_segmented_from_any_folder(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "astronaut.jpg", tmp_path)
    request = ["--box", "5,4,370,512", "--point", "190,320", "--output", "mask.png"]
    run(installed, tmp_path, "iog", "predict", "astronaut.jpg", *request)
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_GRAYSCALE)

    assert mask is not None
    assert mask.shape == (512, 512)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[320, 190] == 255
    assert mask[60, 12] == 0
    assert not (tmp_path / "none").exists()  # neither fetched nor exported


@pytest.mark.skipif(not hasattr(iog, "load"), reason="there is no iog.load yet")
def test_five_lines_of_python_segment_it_too(installed: Path, tmp_path: Path) -> None:
    photo = ROOT / "examples" / "astronaut.jpg"

    assert (
        run(installed, tmp_path, "python", "-c", PYTHON_LINES, photo)
        == "(512, 512) True False True\n"
    )
