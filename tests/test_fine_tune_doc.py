"""The commands of docs/fine-tune.md, run as they are written on a tiny export."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.tiny_formats import box, polygons, runs, save

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "fine-tune.md").read_text()
SIDE = 80
LEFT_OUT = (
    ".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "tests", "runs", "build", "docs",
    "benchmarks", "*.egg-info", "*.pth", "export",
)  # fmt: skip

ASK = """
import json, nuclio_sdk, main
context = nuclio_sdk.Context(logger=nuclio_sdk.Logger("ERROR"))
main.init_context(context)
event = nuclio_sdk.Event(body=json.load(open("../request.json")))
answer = main.handler(context, event)
model = context.user_data.function.model.describe()
body = json.loads(answer.body)
print(json.dumps({"status": answer.status_code, "model": model, "answer": body}))
"""
"""What a worker of the deployed function does."""

NUCTL = """#!{python}
import json, sys
json.dump(sys.argv[1:], open("../nuctl.json", "w"))
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in which the page's commands run."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str) -> str:
        """The output of a command that must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def commands() -> list[str]:
    """The page's numbered shell blocks, in their order."""
    section = PAGE.split("## Six commands", 1)[1].split("\n## ", 1)[0]
    found: list[str] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(found) == 6
    return found


def write_export(root: Path) -> None:
    """CVAT's "COCO 1.0" with images: rectangles, half of them polygons, half painted masks."""
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, 6):
        image = rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
        for painted in (False, True):
            mask = np.zeros((SIDE, SIDE), np.bool_)
            x, y, w, h = rng.integers((4, 4, 20, 20), (40, 40, 36, 36))
            mask[y : y + h, x : x + w] = True
            image[mask] = rng.integers(150, 255, 3)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                | {"segmentation": runs(mask) if painted else polygons(mask)}
                | {"area": float(mask.sum()), "bbox": box(mask), "iscrowd": int(painted)}
                | {"attributes": {"occluded": False}}
            )
        name = f"frame_{number:06}.png"
        save(root / "images" / "default" / name, cv2.imencode(".png", image)[1].tobytes())
        images.append(
            {"id": number, "width": SIDE, "height": SIDE, "file_name": name}
            | {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
        )
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {},
        "categories": [{"id": 1, "name": "nucleus", "supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    save(root / "annotations" / "instances_default.json", json.dumps(content).encode())


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def checkout(tmp_path: Path, plain_environment: dict[str, str]) -> Checkout:
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    # The same recipe, cut short.
    recipe = folder / "iog" / "training" / "configs" / "fine-tune.toml"
    short = {"steps": "3", "batch": "2", "warm_up": "1", "checkpoint_every": "3"}
    text = recipe.read_text()
    for key, value in short.items():
        text, changed = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert changed == 1, key
    recipe.write_text(f"workers = 0\n{text}")
    write_script(
        folder / ".venv" / "bin" / "iog", f'#!/bin/sh\nexec {sys.executable} -B -m iog "$@"\n'
    )
    write_script(tmp_path / "bin" / "nuctl", NUCTL.format(python=sys.executable))
    write_export(folder / "export")
    for absent in ("matplotlib", "tensorboard"):  # no command of the page installs them
        write_script(tmp_path / "absent" / f"{absent}.py", "raise ImportError\n")
    environment = plain_environment | {
        "PATH": f"{tmp_path / 'bin'}:{plain_environment['PATH']}",
        "PYTHONPATH": f"{tmp_path / 'absent'}:{folder}",
        "HOME": str(tmp_path / "home"),  # where weights are installed
        "OMP_NUM_THREADS": "1",
    }
    it = Checkout(folder, environment)
    commit = "git -c user.name=nobody -c user.email=nobody@example.org commit -q -m everything"
    it.run(f"git init -q . && git add . && {commit}")
    return it


@pytest.mark.long
def test_an_export_becomes_a_function_in_six_commands(checkout: Checkout) -> None:
    before, train, install, after, prepare, deploy = commands()
    assert "iog-lite" in checkout.run(before)

    checkout.run(train)
    run = checkout.folder / "runs" / "nuclei"
    assert {"last.pt", "best.pt", "iog-lite.pt", "log.csv"} <= {p.name for p in run.iterdir()}

    checkout.run(install)
    listed = checkout.run(".venv/bin/iog weights list")
    assert re.search(r"^nuclei +iog-lite +here", listed, re.M)
    assert re.search(r"nuclei: .* trained on instances_default\.json, IoU 0\.", listed)

    table = checkout.run(after)
    assert re.search(r"^ *iog-lite +all +2 ", table, re.M)
    assert re.search(r"^ *nuclei +all +2 ", table, re.M)
    report = checkout.folder / "runs" / "nuclei-report"
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", (report / "report.md").read_text())
    assert pictures
    assert all((report / name).is_file() for name in pictures)

    checkout.run(prepare)
    checkout.run(deploy)
    arguments = json.loads((checkout.folder.parent / "nuctl.json").read_text())
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert arguments[0] == "deploy"
    assert options["--platform"] == "local"
    assert options["--project-name"] == "cvat"
    assert json.loads(options["--platform-config"]) == {"attributes": {"network": "cvat_cvat"}}
    deployed = (checkout.folder / options["--path"]).resolve()
    assert (checkout.folder / options["--file"]).resolve() == deployed / "function.yaml"
    assert not (deployed / ".venv").exists()
    changed = Checkout(deployed, checkout.environment).run("git status --porcelain").splitlines()
    assert sorted(changed) == [
        " M Dockerfile",
        " M function-gpu.yaml",
        " M function.yaml",
        "?? iog/models/nuclei.pt",
    ]
    for name in ("Dockerfile", "function.yaml", "function-gpu.yaml"):
        text = (deployed / name).read_text()
        assert set(re.findall(r"\bIOG_MODEL=([\w-]+)", text)) == {"nuclei"}
    _expect_the_new_model(checkout, deployed)


def _expect_the_new_model(checkout: Checkout, deployed: Path) -> None:
    """The deployed folder alone, with the settings of its function.yaml, answers with it."""
    function = yaml.safe_load((deployed / "function.yaml").read_text())
    settings = {variable["name"]: variable["value"] for variable in function["spec"]["env"]}
    steps = function["spec"]["build"]["directives"]["preCopy"]
    settings |= dict(step["value"].split("=", 1) for step in steps if step["kind"] == "ARG")
    assert settings["IOG_MODEL"] == "nuclei"
    photo = next((checkout.folder / "export" / "images" / "default").iterdir())
    request = f"""printf '{{"image": "%s", "obj_bbox": [[10, 10], [60, 60]],
        "pos_points": [[30, 30]], "neg_points": []}}' "$(base64 < {photo} | tr -d '\\n')" """
    checkout.run(f"{request} > ../request.json")
    environment = checkout.environment | settings
    container = environment | {"PYTHONPATH": str(deployed), "HOME": str(deployed / "nobody")}
    said = Checkout(deployed, container).run(f"{sys.executable} -B -c '{ASK}'")
    told = json.loads(said.splitlines()[-1])
    assert told["status"] == 200
    assert told["model"]["model"] == "nuclei"
    assert np.shape(told["answer"]["mask"]) == (SIDE, SIDE)
