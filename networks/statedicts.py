"""Hold a state dict against our networks: which one is it of, what is wrong, what is to add."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import torch
from torch import Tensor

from networks import ARCHITECTURES, build_network

__all__ = ["closest", "complete", "find_misfit"]

_COUNTER: Final = "num_batches_tracked"
"""Ends the keys of BatchNorm's step counters, which no prediction uses and old files lack."""


def closest(state: Mapping[str, Tensor]) -> str:
    """The architecture of which the state has the largest share of keys in the right shape."""

    def agreement(architecture: str) -> float:
        wanted = {k: v.shape for k, v in _expected(architecture).items() if _COUNTER not in k}
        found = sum(k in state and state[k].shape == shape for k, shape in wanted.items())
        return found / len(wanted)

    return max(ARCHITECTURES, key=agreement)


def find_misfit(state: Mapping[str, Tensor], architecture: str) -> str:
    """What keeps the state from being loaded: how many keys of each kind, and the first of them.

    Returns:
        The empty string when it fits. Missing counters do no harm.
    """
    expected = _expected(architecture)
    kinds = {
        "missing": [k for k in expected if k not in state and not k.endswith(_COUNTER)],
        "unexpected": [k for k in state if k not in expected],
        "misshapen": [
            f"{k} {flaw}"
            for k, want in expected.items()
            if k in state and (flaw := _flaw(state[k], want))
        ],
    }
    return "; ".join(f"{len(keys)} {kind}, first {keys[0]}" for kind, keys in kinds.items() if keys)


def complete(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """A fitting state with every key of the network, in its order and in its dtypes.

    Tensors that already have the right dtype are passed on as they are, so that views of a mapped
    file stay views. Missing counters become zero.
    """
    return {
        k: state[k].detach().to(want.dtype)
        if k in state
        else torch.zeros(want.shape, dtype=want.dtype)
        for k, want in _expected(architecture).items()
    }


@cache
def _expected(architecture: str) -> Mapping[str, Tensor]:
    """The network's state dict with tensors that have a shape and a dtype, but no values."""
    with torch.device("meta"):
        return build_network(architecture).state_dict()


def _flaw(have: Tensor, want: Tensor) -> str:
    if have.shape != want.shape:
        return f"{list(have.shape)} instead of {list(want.shape)}"
    if have.layout != torch.strided or have.is_floating_point() != want.is_floating_point():
        return f"{have.dtype} ({have.layout}) instead of {want.dtype}"
    return ""
