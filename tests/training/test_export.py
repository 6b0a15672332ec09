from __future__ import annotations

from pathlib import Path

import pytest
import torch

from networks.checkpoints import load, read_checkpoint
from tests.tiny_dataset import write_folder
from training.__main__ import main


def test_a_run_from_the_command_line_ends_in_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_folder(tmp_path / "data", photos=3), tmp_path / "run"
    config = tmp_path / "tiny.toml"
    config.write_text(
        "batch = 2\nsmall_frame = 48\nthreads = 1\nworkers = 0\nema = 0.5\n"
        "[crop]\nframe = 64\nfwhm = 4\n"
    )
    arguments = ["training", str(config), "--data", str(data), "--out", str(run), "--steps", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    path = run / "iog-lite.pt"
    assert str(path) in capsys.readouterr().out

    checkpoint = read_checkpoint(path)
    assert checkpoint.crop.frame == 64
    assert checkpoint.metadata["steps"] == 2
    assert checkpoint.metadata["data"] == "data"
    assert 0 <= checkpoint.metadata["metrics"]["iou"] <= 1
    stored = checkpoint.state["backbone.conv1.weight"]
    assert stored.dtype == torch.float16
    expected = read_checkpoint(run / "last.pt").state["backbone.conv1.weight"]
    torch.testing.assert_close(stored.float(), expected, atol=1e-3, rtol=1e-3)
    assert load(str(path), weights_dir=tmp_path).row.name == "iog-lite"


def test_wrong_settings_and_data_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.toml"
    config.write_text("stepz = 2\n")
    arguments = ["training", str(config), "--data", str(tmp_path / "no"), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 2
    assert capsys.readouterr().err.startswith("unknown setting stepz; known: ")
    config.write_text("")
    assert main() == 2
    assert "no does not exist" in capsys.readouterr().err
