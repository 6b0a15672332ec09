"""Several processes train one network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from iog.models.checkpoint import read_checkpoint
from iog.training import loop
from iog.training.config import TrainingConfig
from iog.training.runlog import read_log

ROOT = Path(__file__).parents[2]
CONFIG = TrainingConfig(
    crop=CropRule(input_size=64, fwhm=4),
    small_fraction=0.0,
    click_prob=0.0,
    steps=2,
    batch=4,
    accumulate=2,
    warm_up=0,
    threads=1,
    workers=0,
    checkpoint_every=1,
    validate_objects=1,
    optimiser="sgd",
    freeze_norms=True,
)


def train(data: Path, out: Path) -> Path:
    """Train, and keep the parameters that this process ended with."""
    update = loop._update

    def watched(network: torch.nn.Module, *others: object) -> None:
        update(network, *others)  # type: ignore[arg-type]
        out.mkdir(exist_ok=True)
        path = out / f"rank{os.environ.get('RANK', '0')}.pt"
        torch.save(dict(network.named_parameters()), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_update", watched)
        learn, judge = (InstanceMasks(data, split=split) for split in ("train", "val"))
        return loop.train(CONFIG, learn, judge, initial=None, out=out, device="cpu")


@pytest.mark.long
def test_two_processes_agree_with_each_other_and_with_one(data: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, __file__, str(data), str(tmp_path / "both")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train(data, tmp_path / "alone")
    first, second, alone = (
        torch.load(tmp_path / path, weights_only=True)
        for path in ("both/rank0.pt", "both/rank1.pt", "alone/rank0.pt")
    )
    for key, value in first.items():
        assert torch.equal(second[key], value), key
        torch.testing.assert_close(alone[key], value, rtol=1e-3, atol=1e-5)
    assert len(read_log(tmp_path / "both" / "log.csv")) == 2
    assert read_checkpoint(tmp_path / "both" / "last.pt").training["step"] == 2


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
