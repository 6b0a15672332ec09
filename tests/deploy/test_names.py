"""Each image has its name: whatever builds, pushes or runs one uses the name of its target."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from iog import __version__
from tests.deploy.recipes import ROOT, dockerfile

TEXTS = [
    ROOT / "README.md",
    ROOT / "Dockerfile",
    ROOT / "deploy" / "ray.Dockerfile",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.yaml")),
]
NAMES = {"standalone": "iog-standalone", "nuclio": "iog-nuclio", "ray": "iog-ray"}

_IMAGE = re.compile(r"(?:REGISTRY/)?(?P<name>iog-[a-z]+)(?::(?P<tag>[\w.-]+))?")


def commands(start: str) -> Iterator[tuple[Path, str]]:
    """Every command line that begins so, in the documents and in comments."""
    for path in TEXTS:
        lines = re.sub(r"\\\n#?\s*", " ", path.read_text())
        for found in re.findall(rf"{start} [^\n`]*", lines):
            yield path, found


def named(text: str) -> re.Match[str]:
    found = _IMAGE.search(text)
    assert found is not None, text
    return found


def test_each_target_is_built_under_one_name() -> None:
    last = list(dockerfile()[1])[-1]
    built: dict[str, set[str]] = {}
    for _, command in commands("docker build"):
        if " -t " in command:
            target = re.search(r"--(?:target |file deploy/)(\w+)", command)
            name = named(command.split(" -t ")[1])["name"]
            built.setdefault(target[1] if target else last, set()).add(name)

    assert built == {target: {name} for target, name in NAMES.items()}


@pytest.mark.parametrize(
    ("start", "target"),
    [("docker run", "standalone"), ("kubectl set image", "standalone"), ("nuctl deploy", "nuclio")],
)
def test_a_command_runs_the_image_that_can_be_run_so(start: str, target: str) -> None:
    found = [
        (path.name, named(command.partition("--run-image")[2] or command)["name"])
        for path, command in commands(start)
        if "iog-standalone" in command or "iog-nuclio" in command
    ]
    assert found
    assert {name for _, name in found} == {NAMES[target]}, found


def images(document: Any) -> Iterator[str]:  # noqa: ANN401 - YAML
    """Every value under a key ``image``."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from images(value)
    elif isinstance(document, list):
        for value in document:
            yield from images(value)


@pytest.mark.parametrize(
    ("file", "target", "tag"),
    [
        ("compose.yaml", "standalone", __version__),
        ("kubernetes/standalone.yaml", "standalone", __version__),
        ("kubernetes/ray-job.yaml", "ray", __version__),
        ("kubernetes/nuclio-function.yaml", "nuclio", __version__),
        ("kubernetes/nuclio-function-gpu.yaml", "nuclio", f"{__version__}-gpu"),
    ],
)
def test_a_manifest_names_the_image_that_it_needs(file: str, target: str, tag: str) -> None:
    documents = yaml.safe_load_all((ROOT / "deploy" / file).read_text())

    assert set(images(list(documents))) == {f"{NAMES[target]}:{tag}"}


def test_the_images_that_are_started_with_arguments_have_an_entry_point() -> None:
    stages = dockerfile()[1]
    deployment = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/standalone.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert "args" in container
    assert stages["standalone"].values("ENTRYPOINT")
    assert not stages["nuclio"].values("ENTRYPOINT")


def test_every_tag_is_this_version() -> None:
    for path in TEXTS:
        for found in _IMAGE.finditer(path.read_text()):
            if found["tag"] is not None and found["tag"] != "TAG":
                assert found["tag"] in (__version__, f"{__version__}-gpu"), (path.name, found[0])


def test_the_registry_is_explained_for_all_images() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    assert "**`REGISTRY`** below stands for" in text
    text += (ROOT / "docs" / "bulk.md").read_text()
    for name in NAMES.values():
        assert f"docker push REGISTRY/{name}:{__version__}" in text


def test_nuclios_label_is_that_of_the_newest_cvat_in_the_table() -> None:
    rows = re.findall(
        r"^\| (\d[\w. ]+|before [\d.]+) \| ([^|]+) \| `(\w+)` \|",
        (ROOT / "docs" / "deploy.md").read_text(),
        re.MULTILINE,
    )
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    labels = [label for _, label, _ in rows if re.fullmatch(r"[\d.]+", label)]
    newest = dockerfile()[0]["NUCLIO_LABEL"]

    assert newest == labels[0] == max(labels, key=lambda label: [*map(int, label.split("."))])
    (command,) = [line for _, line in commands("docker build") if "NUCLIO_LABEL=" in line]
    assert f"NUCLIO_LABEL={newest} " in command


def test_every_local_deployment_is_in_cvats_network_and_project() -> None:
    found = [line for _, line in commands("nuctl deploy") if "--platform local" in line]

    assert len(found) >= 3
    for line in found:
        assert "--project-name cvat" in line
        assert '--platform-config \'{"attributes": {"network": "cvat_cvat"}}\'' in line


def test_no_command_depends_on_the_name_of_the_clone() -> None:
    # A clone is made of the folder where you are; nothing goes to one by this project's name.
    clones = [line.split()[2] for _, line in commands("git clone")]
    assert clones
    assert set(clones) == {"."}
    assert {line.split()[1] for _, line in commands(r"^cd|(?<=\s)cd")} <= {"../cvat"}
