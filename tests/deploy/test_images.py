"""The images, built from a clean clone and run: `make images`, which says by which commands."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

ROOT = Path(__file__).parents[2]
BUILD, START, RUN = (os.environ.get(f"IMAGE_{name}", "") for name in ("BUILD", "START", "RUN"))
ADDRESS = "http://127.0.0.1:8080"
TAGS = {"standalone": "localhost/iog-standalone:test", "nuclio": "localhost/iog-nuclio:test"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not (BUILD and START and RUN), reason="`make images` runs these"),
]

LOOK = """
import importlib.util, json, os, pathlib, sys, sysconfig
import iog, main
places = [*sys.argv[1:], pathlib.Path(iog.__file__).parent, pathlib.Path(main.__file__).parent]
trees = [sysconfig.get_paths()["purelib"], "/opt"]
files = [path for tree in trees for path in pathlib.Path(tree).rglob("*") if path.is_file()]
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "writable": [str(place) for place in places if os.access(place, os.W_OK)],
    "torch": importlib.util.find_spec("torch") is not None,
    "tests": importlib.util.find_spec("tests") is not None,
    "MB": round(sum(path.stat().st_size for path in files) / 1e6),
}))
"""
ASK = """
import json, sys
import nuclio_sdk
import main
context = nuclio_sdk.Context(logger=nuclio_sdk.Logger("ERROR"))
main.init_context(context)
answer = main.handler(context, nuclio_sdk.Event(body=json.loads(sys.argv[1])))
print(json.dumps({"status": answer.status_code, "body": json.loads(answer.body)}))
"""


def words(template: str, **values: str) -> list[str]:
    """The words of a command, with the values for their names in braces."""
    return [word.format(**values) for word in shlex.split(template)]


def inside(target: str, code: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """Run Python in a container; the JSON that it prints last."""
    command = [*words(RUN, tag=TAGS[target], program="python"), "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module", params=TAGS)
def target(request: pytest.FixtureRequest, clone: Path) -> str:
    """The name of a target of the Dockerfile, whose image is built."""
    name = str(request.param)
    subprocess.run(words(BUILD, target=name, tag=TAGS[name], context=str(clone)), check=True)
    return name


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    """A request as CVAT sends it: the astronaut at half size, short enough for an argument."""
    photo = cv2.imread(str(ROOT / "examples" / "astronaut.jpg"))
    assert photo is not None
    _, text = cv2.imencode(".jpg", cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA))
    return {
        "image": base64.b64encode(text.tobytes()).decode(),
        "obj_bbox": [[2, 2], [185, 256]],
        "pos_points": [[95, 160]],
        "neg_points": [],
        "output": "mask",
    }


def assert_the_astronaut(mask: object) -> None:
    array = np.array(mask)
    assert array.shape == (256, 256)
    assert array[160, 95] == 1
    assert array[30, 6] == 0


@pytest.fixture
def service(target: str) -> Iterator[str]:
    """The address of the image's own command, once it is healthy."""
    process = subprocess.Popen(words(START, tag=TAGS[target]), start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it is not healthy after three minutes"
            try:
                if requests.get(f"{ADDRESS}/health", timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield ADDRESS
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def test_the_image_runs_as_nobody_and_holds_no_more_than_it_needs(target: str) -> None:
    seen = inside(target, LOOK, "/opt", ".")
    print(f"{target}: {seen['MB']} MB of packages and code")

    assert seen["user"] == [65532, 65532]
    assert seen["writable"] == []
    assert not seen["torch"]
    assert not seen["tests"]


def test_the_function_answers_in_the_image(target: str, body: dict[str, Any]) -> None:
    answer = inside(target, ASK, json.dumps(body))

    assert answer["status"] == 200
    assert_the_astronaut(answer["body"]["mask"])


@pytest.mark.parametrize("target", ["standalone"], indirect=True)
def test_the_image_that_stands_alone_serves(service: str, body: dict[str, Any]) -> None:
    assert requests.get(f"{service}/health", timeout=5).json()["model"]
    answer = requests.post(service, json=body, timeout=60)

    assert answer.status_code == 200
    assert_the_astronaut(answer.json()["mask"])
