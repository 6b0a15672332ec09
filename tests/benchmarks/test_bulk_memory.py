from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import bulk_memory


def test_boxes_of_an_image_lie_apart(tmp_path: Path) -> None:
    bulk_memory.write_boxes(tmp_path / "boxes.json", 20)
    content = json.loads((tmp_path / "boxes.json").read_text())
    owners = [each["image_id"] for each in content["annotations"]]
    assert len(owners) == 20
    assert len(content["images"]) == 3
    assert owners != sorted(owners)


def test_it_prints_and_plots_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bulk_memory, "_SAMPLE_SECONDS", 0.001)
    plot = tmp_path / "memory.png"
    monkeypatch.setattr(
        "sys.argv", ["bulk_memory", "--boxes", "400", "--workers", "1", "--plot", str(plot)]
    )
    bulk_memory.main()
    told = capsys.readouterr().out
    for stage in ("index", "masks", "output"):
        assert f"\n{stage}: " in told
    assert plot.read_bytes().startswith(b"\x89PNG")
