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
class Place:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it validates, saves and reports."""
        return self.rank == 0


@contextmanager
def joined(device: str) -> Iterator[Place]:
    """Join the processes that `torchrun` started, or be the only one.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``; with several
            processes each takes the GPU of its local rank.

    Raises:
        SettingsError: the device is not to be had here.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    place = Place(int(os.environ.get("RANK", "0")), world, _device(device, world))
    if world == 1:
        yield place
        return
    on_gpu = place.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(place.device)
    # One process validates while the others wait, on a large data set for longer than the default.
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=12))
    try:
        yield place
    finally:
        distributed.destroy_process_group()


def wait_for_all(place: Place) -> None:
    """Let the others catch up, as after a validation that only one of them does."""
    if place.world > 1:
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
