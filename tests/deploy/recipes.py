"""What the images are built by, read into one form: function*.yaml and the Dockerfile."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One FROM of a Dockerfile, with what follows: pairs of instruction and value."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, kind: str) -> list[str]:
        return [value for instruction, value in self.steps if instruction == kind]

    def copied(self) -> list[tuple[list[str], str]]:
        """Sources in the build context and their destination, for every COPY from there."""
        words = [shlex.split(value) for value in self.values("COPY") if "--from" not in value]
        return [(line[:-1], line[-1]) for line in words]


def dockerfile(path: Path = ROOT / "Dockerfile") -> tuple[dict[str, str], dict[str, Stage]]:
    """The arguments before the first stage, and the stages by name."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for line in filter(str.strip, text.splitlines()):
        kind, value = line.split(None, 1)
        if kind == "FROM":
            base, keyword, name = value.split()
            assert keyword == "AS"
            current = stages[name] = Stage(base, name)
        elif current is not None:
            current.steps.append((kind, value))
        else:
            assert kind == "ARG"
            key, _, default = value.partition("=")
            arguments[key] = default
    return arguments, stages


def function(name: str) -> Stage:
    """The preCopy directives of a function file, as the stage that Nuclio makes of them."""
    build = yaml.safe_load((ROOT / name).read_text())["spec"]["build"]
    steps = [(s["kind"], s["value"]) for s in build["directives"]["preCopy"]]
    return Stage(build["baseImage"], name, steps)


def copy_into(folder: Path, stage: Stage, *, workdir: str) -> None:
    """Do the COPYs that go to ``workdir`` of the image, into a folder of this machine."""
    for sources, destination in stage.copied():
        inside = destination if destination.startswith("/") else f"{workdir}/{destination}"
        if not inside.startswith(workdir):
            continue
        target = folder / inside.removeprefix(workdir).strip("/.")
        for source in sources:
            origin = ROOT / source.removeprefix("handler/")
            if origin.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.pth")
                shutil.copytree(origin, target, dirs_exist_ok=True, ignore=ignore)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, target)
