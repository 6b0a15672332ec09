"""`iog` as it is typed: arguments, files written, sentences and exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from iog import __version__, cli
from iog.models.spec import BUNDLED_DIR, REGISTRY
from iog.overlay import BOX, POSITIVE
from tests.builders import photo
from tests.random_weights import write_random_lite

ROOT = Path(cli.__file__).parents[2]
BUNDLED = BUNDLED_DIR / REGISTRY["iog-lite"].filename
HEIGHT, WIDTH = 40, 56
BOX_ARGUMENTS = ("--box", "10,8,40,31")
WAIT = 120.0
"""Seconds until a test gives up: a busy machine may take very long."""
_GIVEN = (".png", ".txt", "null")

Iog = Callable[..., Result]


@pytest.fixture(scope="session")
def random_lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_lite(tmp_path_factory.mktemp("weights") / "random.pt")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_lite: Path) -> Path:
    """The folder the commands run in, with photo.png; the random model is the default one."""
    (tmp_path / "photo.png").write_bytes(photo("PNG"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IOG_MODEL", str(random_lite))
    monkeypatch.setenv("IOG_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    monkeypatch.setenv("IOG_THREADS", "1")
    return tmp_path


@pytest.fixture
def iog(here: Path) -> Iog:
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        return runner.invoke(cli.app, arguments)

    return run


def refused(result: Result, *words: str) -> None:
    """It failed with a sentence, on stderr, without a traceback."""
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in " ".join(result.stderr.split())
    for field in ("obj_bbox", "pos_points", "neg_points", "`threshold`", "base64", "JSON"):
        assert field not in result.stderr


def files(folder: Path) -> list[str]:
    """What lies there beside the weights folder, which fills by itself."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def read(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.dtype == np.uint8
    return pixels.astype(np.uint8, copy=False)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("predict",),
        ("weights",),
        ("weights", "list"),
        ("weights", "fetch"),
        ("weights", "verify"),
        ("weights", "path"),
        ("weights", "install"),
    ],
)
def test_every_command_explains_itself(iog: Iog, command: tuple[str, ...]) -> None:
    result = iog(*command, "--help")

    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert "Options:" in result.stdout


def test_the_version_is_the_projects(iog: Iog) -> None:
    result = iog("--version")

    assert (result.exit_code, result.stdout) == (0, f"iog {__version__}\n")


def test_predict_writes_a_mask_beside_the_caller(iog: Iog, here: Path) -> None:
    result = iog("predict", "photo.png", *BOX_ARGUMENTS, "--point", "25,19.5")

    assert result.exit_code == 0, result.output
    mask = read(here / "photo-mask.png")
    assert mask.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask)) <= {0, 255}
    assert "Wrote photo-mask.png" in result.stderr
    assert re.search(rf"\d+ of {HEIGHT * WIDTH} pixels \([\d.]+%\), score ", result.stderr)


def test_what_predict_writes_unasked_is_no_news_to_git(iog: Iog, here: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], check=True)
    Path(".gitignore").write_text((ROOT / ".gitignore").read_text())
    assert iog("predict", "photo.png", *BOX_ARGUMENTS).exit_code == 0
    ignored = subprocess.run(["git", "check-ignore", "photo-mask.png"], check=False)
    assert (here / "photo-mask.png").exists()
    assert ignored.returncode == 0


def test_predict_writes_what_it_is_asked_for(iog: Iog, here: Path) -> None:
    result = iog(
        "predict", "photo.png", *BOX_ARGUMENTS, "--point", "25,19.5", "--point", "20,15",
        "--negative", "12,10", "--output", "m.png", "--overlay", "o.PNG", "--json", "a.json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert files(here) == ["a.json", "m.png", "o.PNG", "photo.png"]
    answer = json.loads((here / "a.json").read_text())
    assert np.array_equal(np.array(answer["mask"]) * 255, read(here / "m.png"))
    overlay = read(here / "o.PNG")[:, :, ::-1]
    assert overlay.shape == (HEIGHT, WIDTH, 3)
    assert tuple(overlay[19, 25]) == POSITIVE
    assert tuple(overlay[8, 39]) == BOX


def test_predict_gives_json_to_a_pipe_and_nothing_else(
    iog: Iog, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_OUTPUT", "rle,polygon")

    result = iog("predict", "photo.png", *BOX_ARGUMENTS, "--json", "-")

    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"rle", "polygon"}
    assert files(here) == ["photo.png"]


def test_predict_prints_an_entry_for_each_box_in_a_form(iog: Iog, here: Path) -> None:
    result = iog(
        "predict", "photo.png", "--box", "2,2,20,20", "--box", "30,10,50,35",
        "--form", "polygon", "--tolerance", "0", "--largest", "1", "--fill-holes", "64",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["objects"]
    for entry in (first, second):
        assert list(entry) == ["box", "score", "area", "polygon"]
        assert len(entry["polygon"]) <= 1
    assert files(here) == ["photo.png"]


def test_the_threshold_is_used(iog: Iog, here: Path) -> None:
    for name, threshold in (("all.png", "0.0001"), ("none.png", "0.9999")):
        result = iog(
            "predict", "photo.png", *BOX_ARGUMENTS, "--threshold", threshold, "--output", name
        )
        assert result.exit_code == 0, result.output

    assert read(here / "all.png").sum() > 0
    assert read(here / "none.png").sum() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photo.png",), ("--box",)),
        (("photo.png", "--box", "1,2,3"), ("--box", "'1,2,3'", "4 numbers")),
        (("photo.png", "--box", "a,b,c,d"), ("--box", "4 numbers")),
        (("photo.png", *BOX_ARGUMENTS, "--point", "3"), ("--point", "2 numbers")),
        (("photo.png", *BOX_ARGUMENTS, "--negative", "3,4,5"), ("--negative", "2 numbers")),
        (("photo.png", "--box", "5,5,5,5"), ("no area. Draw the box around the object",)),
        (
            ("photo.png", "--box", "nan,1,5,5"),
            ("--box is nan, which is no place in an image. Give two corners", "--box 120,80,430"),
        ),
        (
            ("photo.png", *BOX_ARGUMENTS, "--point", "3,1e99"),
            ("--point is 1e+99, which", "Give a place in image pixels"),
        ),
        (
            ("photo.png", "--box", "500,500,600,600"),
            ("outside the image of 56 x 40 pixels. Give corners between (0, 0) and (56, 40).",),
        ),
        (
            ("photo.png", *BOX_ARGUMENTS, "--threshold", "1.5"),
            ("--threshold is 1.5, which is not above 0 and below 1. Give", "leave the option out."),
        ),
        (("photo.png", *BOX_ARGUMENTS, "--form", "svg"), ("--form is 'svg', which", "Give one of")),
        (
            ("photo.png", *BOX_ARGUMENTS, "--tolerance", "1"),
            ("--tolerance", "that --form and --json write"),
        ),
        (
            ("photo.png", *BOX_ARGUMENTS, "--tolerance", "-1", "--json", "-"),
            ("--tolerance is -1.0, which is out of range. Give pixels",),
        ),
        (
            ("photo.png", *BOX_ARGUMENTS, "--largest", "0"),
            ("--largest is 0, which is out of range", "or leave the option out."),
        ),
        (
            ("photo.png", *BOX_ARGUMENTS, "--fill-holes", "-1"),
            ("--fill-holes is -1.0, which is out of range",),
        ),
        (("photo.png", *["--box=1,1,9,9"] * 17), ("--box holds more boxes than", "at most 16")),
        (("photo.png", *BOX_ARGUMENTS, "--output", "m.jpg"), ("--output", ".png")),
        (("photo.png", *BOX_ARGUMENTS, "--overlay", "o.txt"), ("--overlay", ".png or .jpg")),
        (("photo.png", *BOX_ARGUMENTS, "--output", "photo.png"), ("the image itself",)),
        (("photo.png", *BOX_ARGUMENTS, "--json", "photo.png"), ("--json", "the image itself")),
        (("photo.png", *BOX_ARGUMENTS, "--output", "no/m.png"), ("no/m.png: No such file",)),
        (("photo.png", *BOX_ARGUMENTS, "--model", "photo.png"), ("file, which is ./photo.png.",)),
        (("missing.png", *BOX_ARGUMENTS), ("missing.png", "does not exist")),
        (
            ("notes.txt", *BOX_ARGUMENTS),
            ("no known format. Give the whole file of a JPEG, PNG, ", " or AVIF image."),
        ),
        (("/dev/null", *BOX_ARGUMENTS), ("The image is empty. Give an image file.",)),
        (("photo.png", *BOX_ARGUMENTS, "--model", "nothing"), ("'nothing'. Known are iog-lite,",)),
        (
            ("photo.png", *BOX_ARGUMENTS, "--model", "iog-light"),
            ("'iog-light'; did you mean iog-lite? Known are iog-lite,", "Or give the path"),
        ),
        (("photo.png", *BOX_ARGUMENTS, "--model", "notes.txt"), ("notes.txt",)),
    ],
    ids=lambda value: " ".join(value[1:]) if value and value[0][-4:] in _GIVEN else "",
)
def test_predict_refuses_with_a_sentence(
    iog: Iog, here: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (here / "notes.txt").write_text("not an image")

    refused(iog("predict", *arguments), *words)

    assert files(here) == ["notes.txt", "photo.png"]


def test_a_wrong_setting_is_a_sentence(iog: Iog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_PRECISION", "fp8")

    refused(iog("predict", "photo.png", *BOX_ARGUMENTS), "IOG_PRECISION is 'fp8'")


def test_a_hint_does_not_speak_of_a_server(iog: Iog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_MAX_PIXELS", "100")

    refused(iog("predict", "photo.png", *BOX_ARGUMENTS), "smaller image, or raise IOG_MAX_PIXELS.")


def test_a_defect_is_a_sentence_too_and_a_traceback_on_request(
    iog: Iog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by a bug")

    monkeypatch.setattr("model_handler.ModelHandler", broken)

    refused(iog("predict", "photo.png", *BOX_ARGUMENTS), "ZeroDivisionError: by a bug", "--debug")
    assert isinstance(
        iog("--debug", "predict", "photo.png", *BOX_ARGUMENTS).exception, ZeroDivisionError
    )


def test_unknown_commands_are_refused(iog: Iog) -> None:
    refused(iog("segment"), "No such command 'segment'")


# --- weights ---------------------------------------------------------------------------------


def test_weights_list_names_every_model(iog: Iog) -> None:
    result = iog("weights", "list")

    assert result.exit_code == 0, result.output
    for spec in REGISTRY.values():
        assert spec.name in result.stdout
        assert f"{spec.name}: {spec.licence}" in result.stdout
    assert re.search(r"^iog-pascal-sbd +iog-resnet101 +not here *$", result.stdout, re.MULTILINE)
    assert "iog weights fetch" in result.stdout


def test_weights_are_taken_from_a_file_found_and_verified(
    iog: Iog, here: Path, random_lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", here / "nothing-bundled")
    none = iog("weights", "verify")

    other = iog("weights", "fetch", "iog-lite", "--from", str(random_lite))
    fetched = iog("weights", "fetch", "iog-lite", "--from", str(BUNDLED))

    assert none.exit_code == 1
    assert "no weights on this machine" in none.stderr
    refused(other, "is not the iog-lite that comes with this project", "iog weights install")
    assert fetched.exit_code == 0, fetched.output
    path = here / "weights" / "iog-lite.pt"
    assert fetched.stdout == f"{path}\n"
    assert path.read_bytes() == BUNDLED.read_bytes()
    assert iog("weights", "path", "iog-lite").stdout == f"{path}\n"
    assert re.match(
        r"iog-lite: good; it is the file of this project \(iog-lite, ",
        iog("weights", "verify").stdout,
    )
    assert re.search(r"iog-lite +iog-lite +here, \d+\.\d MB", iog("weights", "list").stdout)


def test_weights_of_ones_own_get_a_name(iog: Iog, here: Path, random_lite: Path) -> None:
    result = iog("weights", "install", str(random_lite), "--name", "mine")
    assert result.stdout == f"{here / 'weights' / 'mine.pt'}\n"
    listed = iog("weights", "list").stdout
    assert re.search(r"mine +iog-lite +here, 1\d\.\d MB", listed)
    assert "mine: crop to 256 pixels, threshold 0.5" in listed
    assert (
        "mine: good; it has no known hash to compare with (iog-lite, "
        in iog("weights", "verify").stdout
    )
    refused(iog("weights", "install", str(random_lite), "--name", "mine"), "--force")
    to_file = iog("weights", "install", str(random_lite), "--name", "mine", "--to", "photo.png")
    refused(to_file, "'--to'", "'photo.png' is a file")
    elsewhere = iog("weights", "install", str(random_lite), "--name", "mine", "--to", "deploy")
    assert elsewhere.stdout == "deploy/mine.pt\n"


def test_weights_list_shows_a_file_that_is_no_weights(iog: Iog, here: Path) -> None:
    (here / "weights").mkdir()
    (here / "weights" / "broken.pt").write_bytes(b"?")
    listed = iog("weights", "list")
    assert listed.exit_code == 0
    assert re.search(r"broken +\? +unusable", listed.stdout)
    assert re.search(r"broken: .*broken\.pt is not a PyTorch file", listed.stdout)


def test_weights_verify_tells_good_from_bad(iog: Iog, here: Path, random_lite: Path) -> None:
    damaged = here / "damaged.pt"
    damaged.write_bytes(random_lite.read_bytes()[:-1000])

    good = iog("weights", "verify", str(random_lite))
    both = iog("weights", "verify", str(random_lite), str(damaged))

    assert good.exit_code == 0
    assert re.search(r"good; it .* \(iog-lite, \d+ bytes, sha256 [0-9a-f]{64}\)", good.stdout)
    assert both.exit_code == 1
    assert "damaged.pt" in both.stderr
    assert "random.pt: good" in both.stdout


def test_weights_verify_holds_a_file_against_the_wanted_hash(
    iog: Iog, random_lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_WEIGHTS_SHA256", "0" * 64)

    result = iog("weights", "verify", str(random_lite))

    assert result.exit_code == 1
    assert "0" * 64 in result.stderr


def test_weights_path_prints_the_file(iog: Iog, random_lite: Path) -> None:
    assert iog("weights", "path", str(random_lite)).stdout == f"{random_lite}\n"
    refused(iog("weights", "path", "iog-pascal"), "iog weights fetch iog-pascal")


@pytest.mark.parametrize("source", ["missing.pth", "ftp://example.org/x.pth"])
def test_weights_fetch_refuses_a_source_it_cannot_use(iog: Iog, source: str) -> None:
    result = iog("weights", "fetch", "iog-pascal", "--from", source)
    refused(result, source)
    head, error = result.stderr.splitlines()
    assert head == "Fetching IOG_PASCAL.pth ..."
    assert error.startswith("Error: ")


def test_weights_fetch_says_why_a_folder_takes_nothing(
    iog: Iog, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_WEIGHTS_DIR", str(here / "photo.png"))
    result = iog("weights", "fetch", "iog-pascal", "--from", str(BUNDLED))
    refused(result, "photo.png: Not a directory.")


def test_weights_fetch_knows_its_names_before_it_draws_a_bar(iog: Iog) -> None:
    result = iog("weights", "fetch", "iog-pascalle")
    refused(result, "'iog-pascalle' to fetch; did you mean iog-pascal?", ", ".join(REGISTRY))
    assert len(result.stderr.splitlines()) == 1


def test_weights_fetch_says_that_the_bundled_model_is_here(iog: Iog) -> None:
    result = iog("weights", "fetch", "iog-lite")
    assert result.exit_code == 0
    assert result.stdout == f"{BUNDLED}\n"
    assert result.stderr == "iog-lite comes with this project and is here already.\n"


# --- serve, in a process of its own ----------------------------------------------------------


def start_serve(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "iog", "serve", *arguments],
        env=None,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server(here: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `iog serve` and its address."""
    process = start_serve("--port", "0")
    try:
        assert process.stdout is not None
        ready = re.match(r"Ready: (http://127\.0\.0\.1:\d+) ", process.stdout.readline())
        assert ready
        yield process, ready[1]
    finally:
        process.kill()
        process.communicate()


def test_serve_answers_and_stops_cleanly(
    server: tuple[subprocess.Popen[str], str], here: Path
) -> None:
    process, url = server
    body = {"image": "", "obj_bbox": [[1, 1], [5, 5]]}
    with httpx.Client(base_url=url, timeout=WAIT, trust_env=False) as client:
        health = client.get("/health").json()
        assert health == {
            "status": "ok",
            "workers": 1,
            "ready": 1,
            "model": "random",
            "engine": "torch",
            "version": __version__,
            "threshold": 0.5,
        }
        assert client.post("/", json=body).status_code == 400
        # The port is taken: a second server says so at once and leaves the first alone.
        second = start_serve("--port", url.rsplit(":", 1)[1])
        _, complaint = second.communicate(timeout=WAIT)
        assert client.get("/health").status_code == 200

    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=WAIT)

    assert second.returncode == 1
    assert re.fullmatch(r"Error: Port \d+ of 127.0.0.1 is in use .*\n", complaint)
    assert process.returncode == 0
    assert "Started model=random" in log
    assert "warning Request status=400" in log
    assert log.splitlines()[-1].endswith(" info Stopped.")
    assert "Traceback" not in log


def test_serve_can_write_its_log_as_json(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_LOG_FORMAT", "json")
    monkeypatch.setenv("IOG_MODLE", "x")
    process = start_serve("--port", "0")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    with httpx.Client(base_url=ready["url"], timeout=WAIT, trust_env=False) as client:
        client.post("/", content=b"{", headers={"Content-Type": "application/json"})
        client.post("/", content=b"[" + b"0," * 200_001 + b"0]")
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=WAIT)

    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["message"] for line in lines] == [
        "Loading the model ...",
        "IOG_MODLE is no setting; did you mean IOG_MODEL?",
        "Started",
        "Request",
        "Request",
        "Stopped.",
    ]
    assert [line.get("code") for line in lines[3:5]] == ["invalid_json", "too_many_values"]
    assert all({"time", "level"} <= line.keys() for line in [ready, *lines])
    assert all(line["request_id"] for line in lines[3:5])


def test_a_log_format_that_is_none_stops_the_start(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_LOG_FORMAT", "xml")
    process = start_serve("--port", "0")
    _, log = process.communicate(timeout=WAIT)

    assert process.returncode == 1
    assert "Cannot start: IOG_LOG_FORMAT is 'xml'; it must be one of: text, json." in log


def test_the_other_commands_tell_of_a_variable_that_is_no_setting(
    iog: Iog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_MODLE", "x")
    result = iog("weights", "list")

    assert result.exit_code == 0
    assert "Warning: IOG_MODLE is no setting; did you mean IOG_MODEL?\n" in result.stderr


def test_serve_ends_on_sigterm(server: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = server

    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=WAIT)

    assert process.returncode == 0
    assert log.splitlines()[-1].endswith(" info Stopped.")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_without_weights_is_a_sentence(here: Path, workers: str) -> None:
    process = start_serve("--port", "0", "--model", "nothing", "--workers", workers)
    out, log = process.communicate(timeout=WAIT)

    assert process.returncode == 1
    assert out == ""
    assert log.count("Cannot start: There are no weights called 'nothing'") == 1
    assert "Traceback" not in log
