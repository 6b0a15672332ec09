from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tests.random_weights import write_random_lite
from tests.tiny_dataset import write_folder, write_tar


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOG_THREADS", "1")
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    return write_random_lite(tmp_path / "random.pt")


def test_a_model_is_scored_over_a_tar_file(tmp_path: Path, weights: Path) -> None:
    data = write_tar(tmp_path / "data.tar", write_folder(tmp_path / "data", photos=2))
    found = CliRunner().invoke(
        app,
        f"evaluate --data masks:{data} --model {weights} --clicks 2 --out {tmp_path}/report",
    )
    assert found.exit_code == 0, found.output
    assert "2 clicks" in found.output
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["model"] == "random"
    assert len(report["objects"]) == 2
    ious = [score["ious"][0] for score in report["objects"]]
    assert report["summaries"]["all"]["ious"][0] == pytest.approx(sum(ious) / 2)


@pytest.mark.parametrize("data", ["masks", "masks:", "zip:a.zip"])
def test_other_data_is_refused_in_a_sentence(data: str) -> None:
    found = CliRunner().invoke(app, ["evaluate", "--data", data])
    assert found.exit_code == 1
    assert "masks:DIR_OR_TAR" in found.output


def test_missing_data_is_a_sentence(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["evaluate", "--data", f"masks:{tmp_path / 'no'}"])
    assert found.exit_code == 1
    assert "does not exist" in found.output
