"""The images: what they are made of, and that the model gets into them or says why not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.recipes import ROOT, Stage, copy_into, dockerfile, function
from tests.random_weights import write_random_lite

ARGUMENTS, STAGES = dockerfile()
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


def test_all_builds_copy_the_same_files_first(tmp_path: Path) -> None:
    trees = []
    for name, recipe in RECIPES.items():
        copy_into(tmp_path / name, recipe, workdir="/opt/iog/build")
        found = (tmp_path / name).rglob("*")
        trees.append({path.relative_to(tmp_path / name) for path in found})

    assert trees[0]
    assert trees[1:] == trees[:-1]


def test_a_build_without_weights_stops_and_says_what_to_do(tmp_path: Path) -> None:
    done = _prepare(RECIPES["Dockerfile"], tmp_path, "iog-pascal-sbd", str(tmp_path / "no.pth"))

    assert done.returncode == 1
    for advice in ("no.pth", "IOG_MIRROR=", "iog/models/", "IOG_MODEL=iog-lite"):
        assert advice in done.stderr
    assert "Traceback" not in done.stderr
    assert "Mirrors" in (ROOT / "docs" / "deploy.md").read_text()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_model_is_chosen_by_a_build_argument(recipe: Stage) -> None:
    assert "IOG_MODEL=iog-lite" in recipe.values("ARG")
    assert "IOG_MIRROR=" in recipe.values("ARG")
    assert 'sh prepare-model.sh "${IOG_MODEL}" "${IOG_MIRROR}"' in recipe.values("RUN")[-1]


@pytest.mark.parametrize("name", ["function.yaml", "function-gpu.yaml", "packages"])
def test_the_pinned_wheels_are_installed_before_anything_else_is_copied(name: str) -> None:
    stage = STAGES[name] if name in STAGES else RECIPES[name]
    kinds = [kind for kind, _ in stage.steps]
    copies, runs = stage.values("COPY"), stage.values("RUN")

    assert copies[0].split()[0].removeprefix("handler/") == "requirements.txt"
    assert kinds.index("RUN") < len(kinds) - 1 - kinds[::-1].index("COPY") or len(copies) == 1
    assert "--requirement /opt/iog/serving.txt" in runs[0]
    assert runs[0].count("pip install") == runs[0].count("--only-binary=:all:")


def test_only_torch_may_come_from_a_second_index() -> None:
    for stage in (STAGES["model"], RECIPES["function.yaml"]):
        assert "TORCH_INDEX=https://download.pytorch.org/whl/cpu" in stage.values("ARG")
    builds = [run for stage in [*STAGES.values(), *RECIPES.values()] for run in stage.values("RUN")]
    assert not any("index-url" in run for run in builds)
    script = (ROOT / "deploy" / "prepare-model.sh").read_text().replace("\\\n", " ")
    (install,) = [line for line in script.splitlines() if "--extra-index-url" in line]
    # Whatever else the second index offers is not taken.
    assert "^torch==" in install
    assert 'install="pip install' in script
    assert "--no-deps" in script.partition("$install")[0]


def test_the_images_for_cpus_hold_no_torch() -> None:
    assert STAGES["nuclio"].base == STAGES["standalone"].base == "packages"
    for stage in (STAGES["packages"], RECIPES["function.yaml"]):
        assert not any("requirements-torch" in run for run in stage.values("RUN"))
    assert "requirements-torch.txt" in RECIPES["function-gpu.yaml"].values("RUN")[0]


def test_base_images_are_slim_and_of_one_python() -> None:
    version = ARGUMENTS["PYTHON_VERSION"]

    assert STAGES["packages"].base == "python:${PYTHON_VERSION}-slim"
    for name in ("function.yaml", "function-gpu.yaml"):
        assert RECIPES[name].base == f"python:{version}-slim"
    everything = "".join(v for s in [*STAGES.values(), *RECIPES.values()] for _, v in s.steps)
    for word in ("conda", "apt", "gcc", "build-essential", "sudo"):
        assert not re.search(rf"\b{word}\b", everything)


@pytest.mark.parametrize("name", ["nuclio", "standalone"])
def test_the_code_comes_last_and_runs_as_nobody(name: str) -> None:
    stage = STAGES[name]
    kinds = [kind for kind, _ in stage.steps]
    copies = stage.values("COPY")

    assert stage.base == "packages"
    assert copies[-1].split()[0] == "."
    assert copies[-2].startswith("--from=model /opt/iog/weights")
    (user,) = stage.values("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, which Kubernetes can check"
    for kind in ("HEALTHCHECK", "EXPOSE", "CMD"):
        assert kinds.count(kind) == 1
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind == "RUN")
    assert all("org.opencontainers.image." in label for label in stage.values("LABEL"))


def test_a_plain_build_makes_the_standalone_image() -> None:
    name, stage = list(STAGES.items())[-1]

    assert name == "standalone"
    assert stage.values("ENTRYPOINT") == ['["iog"]']
    assert stage.values("CMD") == ['["serve", "--host", "0.0.0.0", "--port", "8080"]']


def test_nuclios_parts_come_from_the_image_given_as_an_argument() -> None:
    assert STAGES["processor"].base == "${NUCLIO_ONBUILD_IMAGE}"
    assert ARGUMENTS["NUCLIO_ONBUILD_IMAGE"].endswith(":${NUCLIO_LABEL}-${NUCLIO_ARCH}")
    sources = [v.split()[1] for v in STAGES["nuclio"].values("COPY") if "processor" in v]
    # The names in the onbuild image; wheels of the one Python version only.
    assert sources == [
        "/home/nuclio/bin/processor",
        "/home/nuclio/bin/py",
        "/home/nuclio/bin/py${PYTHON_VERSION}-whl",
    ]
    assert STAGES["nuclio"].values("CMD") == ['["processor"]']


def test_every_file_that_is_copied_gets_into_the_build_context() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in lines, "nothing gets in but what is named"
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    needed = {
        source for stage in STAGES.values() for sources, _ in stage.copied() for source in sources
    } - {"."}

    for source in needed:
        assert (ROOT / source).exists()
        assert source in allowed or (source.endswith(".py") and "*.py" in allowed)
    assert {"dataloaders", "iog", "networks"} <= allowed
    assert not allowed & {"tests", "docs", "examples"}
