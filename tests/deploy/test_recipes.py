"""What the images are built by: the recipes agree, and the model gets in or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from tests.deploy.recipes import ROOT, Stage, copy_into, dockerfile, function
from tests.random_weights import write_random_lite

STAGES = dockerfile()[1]
RECIPES = {
    "Dockerfile": STAGES["model"],
    "function.yaml": function("function.yaml"),
    "function-gpu.yaml": function("function-gpu.yaml"),
}


def _prepare(recipe: Stage, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the build's RUN does, with nothing but the files that were copied before it."""
    code = folder / "build"
    copy_into(code, recipe, workdir="/opt/iog/build")
    binaries = folder / "bin"
    binaries.mkdir()
    python = binaries / "python"
    # -S: the packages of this environment, but not this project, which is installed into it.
    packages = sysconfig.get_paths()["purelib"]
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "IOG_WEIGHTS_DIR": str(folder / "weights"),
        "HOME": str(folder),
    }
    return subprocess.run(
        ["sh", "prepare-model.sh", *arguments],
        cwd=code,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_files_copied_first_are_enough_to_check_the_model(tmp_path: Path) -> None:
    done = _prepare(RECIPES["Dockerfile"], tmp_path, "iog-lite", "")

    assert done.returncode == 0, done.stderr
    assert "iog-lite: good, exported" in done.stdout
    assert not (tmp_path / "weights").exists()  # the export comes with the project


def test_weights_of_ones_own_are_checked_and_exported(tmp_path: Path) -> None:
    write_random_lite(tmp_path / "build" / "iog" / "models" / "mine.pt", input_size=64)
    done = _prepare(RECIPES["Dockerfile"], tmp_path, "mine", "")

    assert done.returncode == 0, done.stderr
    assert "mine: good" in done.stdout
    assert "openvino/mine" in done.stderr  # where it was exported to
    assert (tmp_path / "weights" / "openvino" / "mine" / "model.json").is_file()


def test_every_recipe_copies_what_the_package_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {pattern.rstrip("*") for pattern in project["packages"]["find"]["include"]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}

    for name, recipe in RECIPES.items():
        sources = [source for sources, _ in recipe.copied() for source in sources]
        copied = {source.removeprefix("handler/") for source in sources}
        assert {source for source in copied if (ROOT / source).is_dir()} == packages, name
        assert copied - allowed == set(), name
    folders = {name for name in allowed if (ROOT / name).is_dir()}
    assert folders == packages
    assert "*" in ignored, "nothing gets into an image but what is named"


def test_a_build_without_weights_stops_and_says_what_to_do(tmp_path: Path) -> None:
    done = _prepare(RECIPES["Dockerfile"], tmp_path, "iog-pascal-sbd", str(tmp_path / "no.pth"))

    assert done.returncode == 1
    for advice in ("no.pth", "IOG_MIRROR=", "iog/models/", "IOG_MODEL=iog-lite"):
        assert advice in done.stderr
    assert "Traceback" not in done.stderr
    assert "IOG_MIRROR=" in (ROOT / "docs" / "deploy.md").read_text()
