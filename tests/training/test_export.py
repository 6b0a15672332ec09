from __future__ import annotations

from pathlib import Path

import torch

from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from iog.models.checkpoint import read_checkpoint
from iog.training.config import TrainingConfig
from iog.training.loop import export, train


def test_an_exported_run_is_small_and_loads(data: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        crop=CropRule(input_size=64, fwhm=4),
        small_fraction=0.0,
        steps=1,
        batch=2,
        threads=1,
        workers=0,
    )
    last = train(
        config, InstanceMasks(data, split="train"), None, initial=None, out=tmp_path, device="cpu"
    )
    path = export(last, tmp_path / "iog-lite.pt")
    assert path.stat().st_size < last.stat().st_size / 5

    checkpoint = read_checkpoint(path)
    assert checkpoint.spec.crop.input_size == 64
    assert checkpoint.metadata["steps"] == 1
    assert not checkpoint.training
    stored = checkpoint.state["backbone.conv1.weight"]
    expected = read_checkpoint(last).state["backbone.conv1.weight"]
    torch.testing.assert_close(stored, expected, atol=1e-3, rtol=1e-3)
    assert checkpoint.spec.name == "iog-lite"
