"""Several processes train one network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iog.models.checkpoint import read_checkpoint
from iog.training.runlog import read_log
from tests.tiny_dataset import write_folder

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
import torch
from iog.training import loop
from iog.training.config import TrainingConfig
from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks

states = []
original = loop._update
def watched(network, *others):
    original(network, *others)
    states[:] = [{k: v.clone() for k, v in network.named_parameters()}]
loop._update = watched
data, out = Path(sys.argv[1]), Path(sys.argv[2])
config = TrainingConfig(
    crop=CropRule(input_size=64, fwhm=4), small_share=0.0, steps=2, batch=4, accumulate=2,
    warm_up=0, threads=1, workers=0, checkpoint_every=1, optimiser="sgd", freeze_norms=True,
    click_share=0.0,
)
loop.train(
    config, InstanceMasks(data, split="train"), InstanceMasks(data, split="val"),
    initial=None, out=out, device="cpu",
)
torch.save(states[0], out / f"rank{os.environ.get('RANK', 'alone')}.pt")
"""


@pytest.mark.long
def test_two_processes_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", photos=3)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, launcher in (("both", together), ("alone", [])):
        done = subprocess.run(
            [sys.executable, *launcher, str(program), str(data), str(tmp_path / name)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    first, second, alone = (
        torch.load(tmp_path / path, weights_only=True)
        for path in ("both/rank0.pt", "both/rank1.pt", "alone/rankalone.pt")
    )
    for key, value in first.items():
        assert torch.equal(second[key], value), key
        torch.testing.assert_close(alone[key], value, rtol=1e-3, atol=1e-5)
    assert len(read_log(tmp_path / "both" / "log.csv")) == 2
    assert read_checkpoint(tmp_path / "both" / "last.pt").training["step"] == 2
