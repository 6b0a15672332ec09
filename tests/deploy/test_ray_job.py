"""deploy/kubernetes/ray-job.yaml and its image: the command, the cluster and the volume fit.

No package carries the schema of KubeRay's resources: the fields are listed here. What they hold of
Kubernetes is checked against its schema.
"""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from iog.cli import app
from iog.cli.workplace import Workplace
from iog.settings import Settings
from tests.deploy.recipes import ROOT, dockerfile

FOLDER = ROOT / "deploy" / "kubernetes"
JOB: dict[str, Any] = yaml.safe_load((FOLDER / "ray-job.yaml").read_text())
CLAIM: dict[str, Any] = yaml.safe_load((FOLDER / "ray-data.yaml").read_text())
SPEC = JOB["spec"]
CLUSTER = SPEC["rayClusterSpec"]
HEAD = CLUSTER["headGroupSpec"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]
VERSIONS = ("1.28", "1.37")


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return {
        canonicalize_name(line.split("==")[0]): line.split("==")[1]
        for line in lines
        if line and not line.startswith("#")
    }


def options(folder: Path) -> dict[str, Any]:
    """What the command line makes of the entry point, with another folder in the volume's place."""
    command, otherwise = SPEC["entrypoint"].split(" || ")
    assert otherwise == "test $? -eq 3"
    program, name, *words = shlex.split(command)
    assert program == "iog"
    (mount,) = (each for each in container(HEAD)["volumeMounts"] if each["name"] == "data")
    inside = [re.sub(rf"^{mount['mountPath']}/", f"{folder}/", word) for word in words]
    assert inside != words
    found: dict[str, Any] = (
        typer.main.get_command(app).commands[name].make_context(name, inside).params  # type: ignore[attr-defined]
    )
    return found


def test_the_fields_are_those_of_the_resource() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert set(JOB) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(SPEC) == {
        "submissionMode",
        "entrypoint",
        "backoffLimit",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }
    # Other modes pass the command through a shell, which would take its `||` for its own.
    assert SPEC["submissionMode"] == "HTTPMode"
    assert SPEC["shutdownAfterJobFinishes"] is True
    assert SPEC["ttlSecondsAfterFinished"] > 0
    assert SPEC["backoffLimit"] > 0
    assert set(CLUSTER) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert set(HEAD) == {"rayStartParams", "template"}
    assert set(WORKERS) == {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    }
    for group in (HEAD, WORKERS):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("group", [HEAD, WORKERS], ids=["head", "workers"])
def test_kubernetes_accepts_the_pods(group: dict[str, Any], version: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
    pod["metadata"] = {"name": "pod", **pod["metadata"]}
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_the_claim(version: str) -> None:
    kubernetes_validate.validate(CLAIM, version, strict=True)


def test_ray_is_of_one_version() -> None:
    assert CLUSTER["rayVersion"] == pins("requirements-ray.txt")["ray"]


def test_the_command_line_takes_the_entry_point(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "boxes.json").write_text("{}")
    given = options(tmp_path)

    assert given["coco"] == tmp_path / "boxes.json"
    assert given["images"] == tmp_path / "images"
    assert given["out"] == tmp_path / "masks.json"
    names = ("engine", "workers", "address", "actors", "gpus", "url")
    Workplace(Settings.from_env({}), *(given[name] for name in names))
    assert given["engine"] == "ray"
    # Ray's own variable may not be there, and the default is a new Ray on this pod alone.
    assert given["address"] == "auto"


def test_there_is_an_actor_for_each_cpu_of_the_workers(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "boxes.json").write_text("{}")
    cpus = int(container(WORKERS)["resources"]["limits"]["cpu"])

    assert options(tmp_path)["actors"] == WORKERS["replicas"] * cpus
    assert WORKERS["minReplicas"] == WORKERS["replicas"] == WORKERS["maxReplicas"]
    assert HEAD["rayStartParams"]["num-cpus"] == "0", "an actor beside the command"
    for group in (HEAD, WORKERS):
        resources = container(group)["resources"]
        assert resources["requests"] == resources["limits"]
        assert re.fullmatch(r"\d+Gi", resources["limits"]["memory"])


def test_the_volume_is_where_the_command_looks() -> None:
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    for group, writes in ((HEAD, True), (WORKERS, False)):
        pod = group["template"]["spec"]
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounts = {each["name"]: each for each in container(group)["volumeMounts"]}
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        assert mounts["data"]["mountPath"] == "/data"
        assert mounts["data"].get("readOnly", False) is not writes
        assert "emptyDir" in volumes["tmp"]
        assert mounts["tmp"]["mountPath"] == "/tmp"
        assert set(volumes) == set(mounts) == {"data", "tmp"}


def test_the_pods_run_the_ray_image_without_rights() -> None:
    image = dockerfile(ROOT / "deploy" / "ray.Dockerfile")[1]["ray"]
    user = image.values("USER")[-1]
    for group in (HEAD, WORKERS):
        pod = group["template"]["spec"]
        found = container(group)
        rights = pod["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert rights["runAsNonRoot"] is True
        assert f"{rights['runAsUser']}:{rights['runAsGroup']}" == user
        assert rights["fsGroup"] == rights["runAsGroup"]
        assert found["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        # KubeRay's own probes need a program that the image lacks.
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(found)
        assert not {"command", "args"} & set(found), "KubeRay puts `ray start` there"


def test_the_ray_image_is_the_standalone_one_and_pinned_packages() -> None:
    arguments, stages = dockerfile(ROOT / "deploy" / "ray.Dockerfile")
    ray, standalone = stages["ray"], dockerfile()[1]["standalone"]
    (sources,) = [sources for sources, _ in ray.copied()]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert arguments["BASE"].startswith("iog-standalone:")
    assert ray.base == "${BASE}"
    assert ray.values("USER")[-1] == standalone.values("USER")[0]
    assert sources == ["requirements-ray.txt", "requirements-ray-job.txt"]
    assert {f"!{name}" for name in sources} <= set(ignored)
    (install,) = ray.values("RUN")
    assert "--no-deps" in install
    assert install.count("--requirement") == 2


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has Python 3.11")
def test_the_list_holds_what_the_jobs_of_ray_need() -> None:
    pytest.importorskip("ray", reason="`make ray` was not run")
    before = pins("requirements.txt") | pins("requirements-ray.txt")
    added = pins("requirements-ray-job.txt")
    assert not before.keys() & added.keys()
    all_of_them = before | added
    for line in metadata.requires("ray") or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": "default"}):
            pin = all_of_them[canonicalize_name(needed.name)]
            assert needed.specifier.contains(pin, prereleases=True), line
