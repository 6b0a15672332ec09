"""One process, or several under `torchrun`: who is who, and where the tensors go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from iog.errors import SettingsError


@dataclass(frozen=True)
class DistInfo:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether it validates, saves and reports."""
        return self.rank == 0


@contextmanager
def init_distributed(device: str) -> Iterator[DistInfo]:
    """Join the processes that `torchrun` started, or be the only one.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``; with several
            processes each takes the GPU of its local rank.

    Raises:
        SettingsError: the device is not to be had here.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    dist = DistInfo(int(os.environ.get("RANK", "0")), world, _device(device, world))
    if world == 1:
        yield dist
        return
    on_gpu = dist.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(dist.device)
    # One process validates while the others wait, on a large data set for longer than the default.
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=12))
    try:
        yield dist
    finally:
        distributed.destroy_process_group()


def wait_for_all(dist: DistInfo) -> None:
    """Let the others catch up, as after a validation that only one of them does."""
    if dist.world > 1:
        distributed.barrier()


def _device(wanted: str, world: int) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SettingsError(f"{wanted!r} is no device; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("there is no CUDA device here; give --device cpu")
    if device.type == "cuda" and world > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device
