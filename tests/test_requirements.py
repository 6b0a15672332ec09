"""The lists of packages: complete, so that pip need not resolve anything, and without surprises."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
# OpenVINO has a stub for it; pip-api finds the pip that every environment has.
LEFT_OUT = {"openvino-telemetry", "pip"}


def pinned(*names: str) -> dict[str, str]:
    """Versions by package, of lists and of the lists that they include."""
    found: dict[str, str] = {}
    for name in names:
        for line in (ROOT / name).read_text().splitlines():
            if line.startswith("-r "):
                found |= pinned(line.removeprefix("-r "))
            elif line and not line.startswith("#"):
                package, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line, re.ASCII).groups()  # type: ignore[union-attr]
                found[canonicalize_name(package)] = version
    return found


@pytest.mark.parametrize(
    "names",
    [
        ("requirements.txt",),
        ("requirements.txt", "requirements-torch.txt"),
        ("requirements.txt", "requirements-agent.txt"),
        ("requirements.txt", "requirements-bulk.txt"),
        ("requirements.txt", "requirements-ray.txt"),
        ("requirements-dev.txt",),
    ],
    ids=lambda names: names[-1],
)
def test_a_list_holds_all_that_its_packages_need(names: tuple[str, ...]) -> None:
    if "requirements-ray.txt" in names:
        pytest.importorskip("ray", reason="`make ray` was not run")
    pins = pinned(*names)
    for package, version in pins.items():
        for line in metadata.requires(package) or []:
            needed = Requirement(line)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(needed.name)
            assert name in pins or name in LEFT_OUT, f"{package} {version} needs {line}"
            assert name in LEFT_OUT or needed.specifier.contains(pins[name]), line


def test_serving_takes_neither_torch_nor_what_sends_anything() -> None:
    assert not {"torch", "scipy", "gdown", "openvino-telemetry"} & set(pinned("requirements.txt"))


def test_torch_is_one_line_that_the_builds_find() -> None:
    for name, package in (("requirements-torch", "torch"), ("requirements", "nuclio_sdk")):
        lines = (ROOT / f"{name}.txt").read_text().splitlines()
        assert len([line for line in lines if re.match(rf"{package}==\d", line)]) == 1


def test_ray_is_added_to_what_is_there() -> None:
    ray, development = pinned("requirements-ray.txt"), pinned("requirements-dev.txt")
    assert {name: ray[name] for name in ray.keys() & development} == {
        name: development[name] for name in ray.keys() & development
    }
