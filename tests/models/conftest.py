"""Random weights of every network, in memory and as files."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dataloaders.geometry import CropRule
from iog.models import fetching
from iog.models.checkpoint import Checkpoint, write_checkpoint
from iog.models.spec import REGISTRY, ModelSpec, own_spec
from networks import build_network

State = OrderedDict[str, Tensor]
Write = Callable[[State, str], Path]

# Imported here: a module that is first imported while a test has changed the table would keep it.
assert fetching.__name__ == "iog.models.fetching"

COUNTER = "num_batches_tracked"
KINDS = ("zip", "legacy", "zip-no-counters", "legacy-no-counters", "checkpoint", "training")


@cache
def _random_state(architecture: str) -> State:
    with torch.device("meta"):
        shapes = build_network(architecture).state_dict()
    generator = torch.Generator().manual_seed(len(shapes))
    return OrderedDict(
        (key, torch.rand(like.shape, generator=generator))
        if like.is_floating_point()
        else (key, torch.tensor(7))
        for key, like in shapes.items()
    )


@pytest.fixture(scope="session")
def random_state() -> Iterator[Callable[[str], State]]:
    """``random_state(architecture)``: a full-size state dict, made once; not to be changed."""
    yield _random_state
    _random_state.cache_clear()


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """As everywhere, but emptied after the test: files of weights are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(state, kind)``: a file of one of ``KINDS``."""
    paths: list[Path] = []

    def writer(state: State, kind: str) -> Path:
        path = tmp_path / f"{kind}-{len(paths)}.pth"
        paths.append(path)
        if kind in ("checkpoint", "training"):
            architecture = (
                "iog-resnet101" if "backbone.layer1.0.conv3.weight" in state else "iog-lite"
            )
            spec = own_spec(
                path,
                architecture=architecture,
                crop=CropRule(input_size=256, margin_ratio=0.5),
                threshold=0.4,
            )
            metadata = {"commit": "abc", "iou": 0.8, "data": ["here"]}
            training = optimiser_state() if kind == "training" else {}
            write_checkpoint(path, Checkpoint(spec, state, metadata, training))
            return path
        if kind.endswith("no-counters"):
            state = OrderedDict((k, v) for k, v in state.items() if not k.endswith(COUNTER))
        torch.save(state, path, _use_new_zipfile_serialization=kind.startswith("zip"))
        return path

    return writer


def optimiser_state() -> dict[str, object]:
    """What an AdamW that has made a step would put into a checkpoint."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(3)
    optimiser.step()
    return {"optimiser": optimiser.state_dict(), "step": 1}


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModelSpec:
    """A published model as small as iog-lite, the only one registered; nothing is bundled."""
    spec = replace(
        REGISTRY["iog-lite"],
        name="small",
        source="https://drive.google.com/uc?id=small",
        filename="SMALL.pth",
        size=None,
        sha256=None,
        sha256_confirmed=False,
    )
    for module in ("spec", "checkpoint"):
        monkeypatch.setattr(f"iog.models.{module}.REGISTRY", {spec.name: spec})
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", tmp_path / "bundled")
    return spec
