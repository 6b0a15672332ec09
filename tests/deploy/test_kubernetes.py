"""deploy/kubernetes and deploy/compose.yaml: valid, and consistent with the images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from iog.cli.serve import serve
from iog.settings import Settings
from tests.deploy.recipes import ROOT, dockerfile

FOLDER = ROOT / "deploy" / "kubernetes"
STANDALONE: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for document in yaml.safe_load_all((FOLDER / "standalone.yaml").read_text())
}
FUNCTIONS = sorted(FOLDER.glob("nuclio-function*.yaml"))
VERSIONS = ("1.28", "1.37")  # of Kubernetes; what lies between them keeps these fields


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", STANDALONE)
def test_kubernetes_accepts_every_document(kind: str, version: str) -> None:
    kubernetes_validate.validate(STANDALONE[kind], version, strict=True)


def test_the_documents_belong_together() -> None:
    assert set(STANDALONE) == {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }
    deployment = STANDALONE["Deployment"]
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert STANDALONE["Service"]["spec"]["selector"] == labels
    assert STANDALONE["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaler = STANDALONE["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"], "applying the file would undo the scaling"
    # Without a request there is no utilisation, and with one replica an eviction would hang.
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"]
    budget = STANDALONE["PodDisruptionBudget"]["spec"]["minAvailable"]
    assert budget < scaler["minReplicas"] < scaler["maxReplicas"]


def test_the_pod_runs_the_standalone_image_without_rights() -> None:
    pod = STANDALONE["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    image = dockerfile()[1]["standalone"]
    user, group = map(int, image.values("USER")[0].split(":"))

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (
        user,
        group,
    )
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert container["args"][0] == serve.__name__
    (port,) = container["ports"]
    assert str(port["containerPort"]) in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": port["name"]}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.name)
def test_the_function_is_the_one_of_the_function_file(path: Path) -> None:
    there = _load(path)
    here = _load(ROOT / path.name.replace("nuclio-", ""))

    assert (there["apiVersion"], there["kind"]) == ("nuclio.io/v1beta1", "NuclioFunction")
    noted, wanted = there["metadata"]["annotations"], here["metadata"]["annotations"]
    # A CRD's annotations are all strings, an empty one too.
    assert noted == {**wanted, "spec": ""}
    assert there["metadata"]["name"] == here["metadata"]["name"]
    for key in ("description", "runtime", "handler", "eventTimeout", "triggers"):
        assert there["spec"][key] == here["spec"][key], key
    environ = {variable["name"]: variable["value"] for variable in there["spec"]["env"]}
    missing = {v["name"]: v["value"] for v in here["spec"]["env"]}.items() - environ.items()
    assert not missing
    assert Settings.from_env(environ)
    user = dockerfile()[1]["nuclio"].values("USER")[0].partition(":")[0]
    assert str(there["spec"]["securityContext"]["runAsUser"]) == user


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.name)
def test_the_function_scales_on_cpu(path: Path) -> None:
    spec = _load(path)["spec"]
    requests, limits = spec["resources"]["requests"], spec["resources"]["limits"]

    # Both bounds have to be there, or Nuclio takes one for the other and makes no autoscaler.
    assert 1 <= spec["minReplicas"] < spec["maxReplicas"]
    assert 0 < spec["targetCPU"] <= 100
    # Utilisation is in shares of what is requested.
    assert float(requests["cpu"]) == float(limits["cpu"])
    for amount in (requests["memory"], limits["memory"]):
        assert re.fullmatch(r"\d+Gi", amount)
    assert ("nvidia.com/gpu" in limits) == path.stem.endswith("gpu")
    assert "build" not in spec, "there is no building in the cluster"
    # The parts of a pod that Nuclio passes on are Kubernetes' own.
    container = {
        "name": "function",
        "image": spec["image"],
        "env": spec["env"],
        "resources": spec["resources"],
        "imagePullPolicy": spec["imagePullPolicy"],
    }
    pod = {"securityContext": spec["securityContext"], "containers": [container]}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "function"}, "spec": pod},
        VERSIONS[-1],
        strict=True,
    )


def test_there_is_a_function_for_cpu_and_one_for_gpu() -> None:
    assert [path.name for path in FUNCTIONS] == [
        "nuclio-function-gpu.yaml",
        "nuclio-function.yaml",
    ]


def test_compose_runs_the_image_in_cvats_network_without_rights() -> None:
    composed = _load(ROOT / "deploy" / "compose.yaml")
    assert set(composed) == {"services", "networks"}
    assert set(composed["networks"]) == {"cvat"}
    (service,) = composed["services"].values()

    assert service["networks"] == ["cvat"]
    # In a file that is merged into CVAT's, a relative path would start at CVAT's folder.
    assert "build" not in service
    assert "volumes" not in service
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    # Not CVAT's own port, and nobody but this machine.
    (port,) = service["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:(?!8080)\d+:8080", port)
