"""Where only requirements.txt is installed: iog-lite works, and the rest says what to type."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.random_weights import write_random_lite
from tests.tiny_dataset import write_folder

ROOT = Path(__file__).parent.parent
BOX = ["--box", "5,4,370,512", "--point", "190,320"]
# None makes Python say of a module that it is not installed.
SCRIPT = """
import sys
for name in ("torch", "torchvision", "scipy", "gdown", "requests", "matplotlib", "nncf"):
    sys.modules[name] = None
from iog import cli
cli.main()
"""


def iog(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "IOG_THREADS": "1", "IOG_WEIGHTS_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env={**environment, "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_iog_lite_gives_its_mask(tmp_path: Path) -> None:
    photo = str(ROOT / "examples" / "astronaut.jpg")
    done = iog("predict", photo, *BOX, "--json", "answer.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    mask = json.loads((tmp_path / "answer.json").read_text())["mask"]
    assert sum(map(sum, mask)) > 10_000


def test_a_data_set_gets_its_masks(tmp_path: Path) -> None:
    boxes = {
        "images": [{"id": 1, "file_name": "astronaut.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [5, 4, 365, 508]}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    files = ["--coco", "boxes.json", "--images", str(ROOT / "examples"), "--out", "masks.json"]
    done = iog("masks", *files, "--workers", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 masks made, 0 failed." in done.stderr


def test_weights_of_ones_own_are_listed(tmp_path: Path) -> None:
    write_random_lite(tmp_path / "mine.pt", input_size=64)
    done = iog("weights", "list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "fine-tune", "--data", "masks:data", "--out", "run"],
        ["export", "iog-lite"],
        ["evaluate", "--data", "masks:data", "--model", "OWN"],
        ["weights", "verify", "iog-lite"],
        ["weights", "install", "OWN", "--name", "mine"],
        ["weights", "fetch", "iog-pascal-sbd"],
        ["predict", "PHOTO", *BOX, "--model", "OWN"],
        ["bench", "--model", "OWN", "--quick"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_torch_says_what_to_type(arguments: list[str], tmp_path: Path) -> None:
    write_random_lite(tmp_path / "own.pt", input_size=64)
    write_folder(tmp_path / "data")
    names = {"OWN": str(tmp_path / "own.pt"), "PHOTO": str(ROOT / "examples" / "cat.jpg")}
    done = iog(*[names.get(word, word) for word in arguments], folder=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "make torch" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weights", "fetch", "nosuch"], "There are no weights 'nosuch' to fetch. Known are"),
        (["train", "nosuch", "--data", "masks:data", "--out", "run"], "nosuch cannot be read"),
        (
            ["train", "fine-tune", "--data", "masks:data", "--out", "run", "--initial", "nosuch"],
            "no weights called 'nosuch'",
        ),
        (["evaluate", "--data", "masks:data", "--model", "nosuch"], "no weights called 'nosuch'"),
    ],
    ids=" ".join,
)
def test_a_wrong_name_is_refused_before_torch_is_asked_for(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    done = iog(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert "make torch" not in done.stderr


@pytest.mark.parametrize(
    "setting",
    [("IOG_ENGINE", "torch"), ("IOG_DEVICE", "cuda"), ("IOG_PRECISION", "fp16")],
    ids="=".join,
)
def test_a_setting_that_needs_torch_says_what_to_type(
    setting: tuple[str, str], tmp_path: Path
) -> None:
    photo = str(ROOT / "examples" / "cat.jpg")
    done = iog("predict", photo, *BOX, folder=tmp_path, **dict([setting]))
    assert done.returncode == 1
    assert setting[0] in done.stderr
    advice = "`make torch`" if setting[0] == "IOG_ENGINE" else "`make torch CUDA=1`"
    assert advice in done.stderr
