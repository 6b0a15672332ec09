from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from iog.cli import app
from iog.models.files import sha256_of
from tests.random_weights import write_random_lite
from tests.tiny_dataset import write_folder, write_tar
from tests.tiny_formats import photos, write_cvat_masks


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOG_THREADS", "1")
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    return write_random_lite(tmp_path / "random.pt")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Two discs, as the ``val`` split of a tar file."""
    return f"masks:{write_tar(tmp_path / 'data.tar', write_folder(tmp_path / 'data', photos=2))}"


def _evaluate(arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments.split()])


def test_models_and_baselines_share_the_tables(tmp_path: Path, weights: Path, data: str) -> None:
    found = _evaluate(
        f"--data {data} --model {weights} --model ellipse --clicks 2 --noc --vary-box --mask-input "
        f"--out {tmp_path}/report"
    )
    assert found.exit_code == 0, found.output
    for word in ("2 clicks", "random", "ellipse", "box alone", "IoU 0.90", "boundary F", "rises"):
        assert word in found.output
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    first, second = report["models"]
    assert (first["name"], second["name"]) == ("random", "ellipse")
    assert first["settings"]["sha256"] == sha256_of(weights)
    assert len(first["objects"]) == len(second["objects"]) == 2
    ious = [score["ious"][0] for score in second["objects"]]
    assert second["summaries"]["all"]["ious"][0] == pytest.approx(sum(ious) / 2)
    assert second["summaries"]["all"]["figures"]["noc_90"] >= 1
    assert 0 <= first["summaries"]["all"]["figures"]["rises"] <= 1
    assert len(first["summaries"]["all"]["errors"]) == 2
    assert "Difference from random" in found.output
    assert "Difference from random" in (tmp_path / "report" / "report.md").read_text()


def test_a_cvat_export_is_scored_whole_or_its_held_out_photographs(tmp_path: Path) -> None:
    write_cvat_masks(tmp_path / "export", photos())
    data = f"--data cvat-masks:{tmp_path}/export --model box"
    whole = _evaluate(f"{data} --out {tmp_path}/whole")
    assert whole.exit_code == 0, whole.output
    part = _evaluate(f"{data} --hold-out 0.3 --out {tmp_path}/part")
    assert part.exit_code == 0, part.output
    scored = [
        {score["image_id"] for score in json.loads(path.read_text())["models"][0]["objects"]}
        for path in (tmp_path / "whole" / "report.json", tmp_path / "part" / "report.json")
    ]
    assert len(scored[0]) == 3
    assert len(scored[1]) == 1
    assert "all of it, 30% held out" in (tmp_path / "part" / "report.md").read_text()


def test_every_picture_of_the_page_is_there(tmp_path: Path, data: str) -> None:
    out = tmp_path / "report"
    assert _evaluate(f"--data {data} --model box --out {out}").exit_code == 0
    page = (out / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]*)\)", page)
    assert len(pictures) == 5
    for name in pictures:
        assert cv2.imread(str(out / name)) is not None, name
    assert "| box | all | 2 |" in page


def test_without_matplotlib_the_report_has_no_plots(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = _evaluate(f"--data {data} --model box --out {tmp_path}/report")
    assert found.exit_code == 0, found.output
    assert "No plots without matplotlib" in found.output
    assert ".png" not in (tmp_path / "report" / "report.md").read_text()


def test_the_same_command_goes_on_and_another_is_refused(tmp_path: Path, data: str) -> None:
    command = f"--data {data} --model ellipse --out {tmp_path}/report"
    assert _evaluate(command).exit_code == 0
    scores = tmp_path / "report" / "ellipse" / "objects.jsonl"
    report, lines = tmp_path / "report" / "report.json", scores.read_text().splitlines(True)
    whole = json.loads(report.read_text())
    scores.write_text("".join(lines[:2]))  # stopped after the first of two objects
    assert _evaluate(command).exit_code == 0
    again = json.loads(report.read_text())
    for before, now in zip(
        whole["models"][0]["objects"], again["models"][0]["objects"], strict=True
    ):
        assert now["ious"] == before["ious"]
    assert scores.read_text().splitlines(True)[:2] == lines[:2]
    found = _evaluate(f"{command} --clicks 3")
    assert found.exit_code == 1
    assert "holds scores of another run" in found.output


def test_the_official_protocol_saves_masks(tmp_path: Path, data: str) -> None:
    out = tmp_path / "report"
    found = _evaluate(
        f"--data {data} --model box --protocol official --legacy-stretch --save-masks --out {out}"
    )
    assert found.exit_code == 0, found.output
    assert found.output.split("objects")[1].split()[:3] == ["0.1", "0.2", "0.3"]
    saved = sorted(path.name for path in (out / "box" / "run_0" / "Results").iterdir())
    assert saved == ["1-0.png", "1-1.png"]
    score = json.loads((out / "report.json").read_text())["models"][0]["objects"][0]
    assert score["ious"] == [score["ious"][0]] * 9


def test_the_default_model_is_that_of_the_settings(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_MODEL", "ellipse")
    found = _evaluate(f"--data {data} --limit 1 --jitter 2.5")
    assert found.exit_code == 0, found.output
    assert "ellipse" in found.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--protocol official --vary-box", "--vary-box belongs to --protocol annotator."),
        ("--protocol official --jitter 3", "--jitter belongs to --protocol annotator."),
        ("--legacy-stretch", "--legacy-stretch belongs to --protocol official."),
        ("--protocol official --save-masks", "it needs --out"),
        ("--model box --model box", "two models are called 'box'"),
        ("--protocol strict", "annotator"),
    ],
)
def test_options_that_do_not_fit_are_refused(data: str, arguments: str, sentence: str) -> None:
    found = _evaluate(f"--data {data} --model box {arguments}")
    assert found.exit_code == 2
    assert sentence in " ".join(found.output.replace("│", " ").split())


@pytest.mark.parametrize("data", ["masks", "masks:", "zip:a.zip"])
def test_other_data_is_refused_in_a_sentence(data: str) -> None:
    found = CliRunner().invoke(app, ["evaluate", "--data", data])
    assert found.exit_code == 1
    assert "masks:DIR_OR_TAR" in found.output


def test_missing_data_is_a_sentence(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["evaluate", "--data", f"masks:{tmp_path / 'no'}"])
    assert found.exit_code == 1
    assert "does not exist" in found.output
