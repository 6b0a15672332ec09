"""Every function*.yaml against what Nuclio 1.13 to 1.17 and CVAT do with it."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from iog.serving.app import BODY_LIMIT
from iog.serving.pool import WORKER_WAIT
from iog.settings import Settings

ROOT = Path(__file__).parent.parent
FILES = sorted(path.name for path in ROOT.glob("function*.yaml"))

ANNOTATIONS = {
    "name", "type", "spec", "version", "min_pos_points", "min_neg_points", "startswith_box",
    "startswith_box_optional", "animated_gif", "help_message",
}  # fmt: skip
# functionconfig.Spec of nuclio, as far as 1.13 knows it and 1.17 still does.
SPEC = {
    "description", "disable", "handler", "runtime", "env", "envFrom", "resources", "image",
    "replicas", "minReplicas", "maxReplicas", "targetCPU", "customScalingMetricSpecs",
    "autoScaleMetrics", "scaleToZero", "triggers", "volumes", "build", "runRegistry",
    "imagePullSecrets", "imagePullPolicy", "loggerSinks", "platform", "readinessTimeoutSeconds",
    "waitReadinessTimeoutBeforeFailure", "serviceType", "securityContext", "serviceAccount",
    "devices", "affinity", "nodeSelector", "nodeName", "tolerations", "priorityClassName",
    "preemptionPolicy", "preemptionMode", "deploymentStrategy", "hostIPC", "sidecars",
    "initContainers", "disableDefaultHTTPTrigger", "disableSensitiveFieldsMasking", "eventTimeout",
}  # fmt: skip
BUILD = {
    "path", "functionSourceCode", "codeEntryType", "codeEntryAttributes", "image", "registry",
    "baseImageRegistry", "baseImage", "onbuildImage", "commands", "directives", "noBaseImagesPull",
    "noCache", "noCleanup", "args", "flags", "mode", "buildTimeoutSeconds", "builderServiceAccount",
    "offline",
}  # fmt: skip
INSTRUCTIONS = {"ADD", "ARG", "COPY", "ENV", "RUN", "SHELL", "USER", "WORKDIR"}
TRIGGER = {
    "kind", "numWorkers", "workerAvailabilityTimeoutMilliseconds", "workerTerminationTimeout",
    "batch", "attributes",
}  # fmt: skip
HTTP = {
    "port", "maxRequestBodySize", "readBufferSize", "reduceMemoryUsage", "cors", "ingresses",
    "serviceType", "disablePortPublishing",
}  # fmt: skip
PLATFORM = {"network", "restartPolicy", "healthCheckInterval"}
RUNTIMES = {"python:3.10", "python:3.11"}  # what all of 1.13 to 1.17 have

DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.fixture(params=FILES)
def function(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / request.param).read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def noted(function: dict[str, Any]) -> dict[str, Any]:
    found = function["metadata"]["annotations"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def spec(function: dict[str, Any]) -> dict[str, Any]:
    found = function["spec"]
    assert isinstance(found, dict)
    return found


def test_there_is_one_for_each_of_cvats_scripts() -> None:
    # deploy_cpu.sh and deploy_gpu.sh look for files of these names at any depth.
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, so there is nobody to ask for the project's files")
    command = ["git", "ls-files", "function*.yaml", "**/function*.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) == {"function.yaml", "function-gpu.yaml"}


def test_the_file_holds_metadata_and_spec_only(function: dict[str, Any]) -> None:
    assert set(function) <= {"apiVersion", "kind", "metadata", "spec"}
    assert set(function["metadata"]) <= {"name", "namespace", "labels", "annotations"}


def test_the_name_is_valid_for_kubernetes(function: dict[str, Any]) -> None:
    name = function["metadata"]["name"]

    assert DNS_LABEL.fullmatch(f"nuclio-{name}")
    assert len(f"nuclio-{name}") <= 63
    assert name.startswith("pth-shiyinzhang-iog")


def test_cvat_can_read_every_annotation(noted: dict[str, Any]) -> None:
    assert set(noted) <= ANNOTATIONS
    assert noted.pop("spec") in (None, "", "[]")
    for key, value in noted.items():
        assert isinstance(value, str), f"{key}: Nuclio keeps annotations as strings"
        assert value


def test_cvat_gets_an_interactor_that_starts_with_a_box(noted: dict[str, Any]) -> None:
    # The way CVAT's LambdaFunction reads them, with its defaults.
    assert noted["type"] == "interactor"
    assert int(noted.get("version", 1)) == 2
    assert int(noted.get("min_pos_points", 1)) == 1
    assert int(noted.get("min_neg_points", -1)) == 0
    assert bool(noted.get("startswith_box", False))
    # The commit that CVAT's own function names, which a release holds.
    assert noted["animated_gif"].split("/")[5] == "0fbb19ae3846a017853d52e187f0ce149adced7d"
    assert noted["help_message"]


def test_no_annotation_says_no_in_a_way_that_cvat_takes_for_yes(
    noted: dict[str, Any],
) -> None:
    for key in ("startswith_box", "startswith_box_optional"):
        assert noted.get(key, "true") == "true", "CVAT parses it with bool()"


def test_there_is_a_description(spec: dict[str, Any]) -> None:
    assert spec["description"].strip(), "CVAT's list of functions breaks without one"


def test_every_key_is_one_that_nuclio_knows(spec: dict[str, Any]) -> None:
    assert set(spec) <= SPEC
    assert set(spec["build"]) <= BUILD
    assert set(spec["platform"]) == {"attributes"}
    assert set(spec["platform"]["attributes"]) <= PLATFORM
    assert set(spec["platform"]["attributes"]["restartPolicy"]) <= {"name", "maximumRetryCount"}
    for trigger in spec["triggers"].values():
        assert set(trigger) <= TRIGGER
        assert set(trigger["attributes"]) <= HTTP


def test_the_runtime_exists_in_all_versions_and_is_the_base_images(spec: dict[str, Any]) -> None:
    assert spec["runtime"] in RUNTIMES
    assert "commands" not in spec["build"], "commands would discard the directives"
    version = spec["runtime"].removeprefix("python:")
    base = spec["build"]["baseImage"]
    if base.startswith("python:"):
        assert re.match(rf"python:{re.escape(version)}(-|\.|$)", base)


def test_the_handler_is_there(spec: dict[str, Any]) -> None:
    assert re.fullmatch(r"([\w|-]+(\.[\w|-]+)*):(\w+)", spec["handler"])
    module, name = spec["handler"].split(":")
    handler = getattr(importlib.import_module(module), name)

    # Nuclio looks for init_context where the handler was defined.
    assert callable(importlib.import_module(handler.__module__).init_context)


def test_durations_are_gos(spec: dict[str, Any]) -> None:
    assert DURATION.fullmatch(spec["eventTimeout"])
    for trigger in spec["triggers"].values():
        assert DURATION.fullmatch(trigger["workerTerminationTimeout"])


def test_the_worker_ends_before_docker_kills_it(spec: dict[str, Any]) -> None:
    for trigger in spec["triggers"].values():
        wait = float(trigger["workerTerminationTimeout"].removesuffix("s"))
        assert wait + 5 < 10  # nuclio sleeps 5 s more; docker stop gives 10 s


def test_the_trigger_keeps_the_limits_of_the_local_host(spec: dict[str, Any]) -> None:
    (trigger,) = spec["triggers"].values()

    assert trigger["kind"] == "http"
    assert trigger["numWorkers"] >= 1
    assert trigger["attributes"]["maxRequestBodySize"] == BODY_LIMIT == 64 * 2**20
    assert trigger["workerAvailabilityTimeoutMilliseconds"] == WORKER_WAIT * 1000


def test_the_environment_is_one_the_function_starts_with(spec: dict[str, Any]) -> None:
    for variable in spec["env"]:
        assert set(variable) == {"name", "value"}, "the docker platform reads nothing else"
        assert isinstance(variable["value"], str)
    environ = {variable["name"]: variable["value"] for variable in spec["env"]}

    assert len(environ) == len(spec["env"])
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    known = {f"IOG_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert {name for name in environ if name.startswith("IOG_")} <= known
    assert "IOG_MODEL" not in environ, "the image says which model is in it"
    on_gpu = "nvidia.com/gpu" in spec.get("resources", {}).get("limits", {})
    assert Settings.from_env(environ).device == ("cuda" if on_gpu else "auto")


def test_the_build_ends_in_copying_the_code_and_not_before(spec: dict[str, Any]) -> None:
    directives = spec["build"]["directives"]
    assert set(directives) == {"preCopy"}
    for step in directives["preCopy"]:
        assert set(step) == {"kind", "value"}
        assert step["kind"] in INSTRUCTIONS
        assert "\n" not in step["value"]
        if step["kind"] == "COPY":
            # In Nuclio's build context the function's folder is called `handler`.
            sources = step["value"].split()[:-1]
            assert all(source.startswith("handler/") for source in sources)
            assert "handler/main.py" not in sources


def test_the_gpu_file_is_the_cpu_file_but_for_the_gpu() -> None:
    def told(name: str) -> dict[str, Any]:
        function: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
        for key in ("description", "resources", "env", "build"):
            function["spec"].pop(key, None)
        return function

    assert told("function-gpu.yaml") == told("function.yaml")


def test_no_file_of_ours_has_a_name_that_the_wrapper_uses() -> None:
    taken = ("_nuclio_wrapper.py", "_nuclio_async_wrapper.py", "wrapper_common.py", "requirements")

    assert not [name for name in taken if (ROOT / name).exists()]
