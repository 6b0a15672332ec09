from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch

from networks import ARCHITECTURES
from networks.statedicts import closest, complete, find_misfit
from tests.models.conftest import COUNTER, State

RandomState = Callable[[str], State]


def without_counters(state: State) -> State:
    return OrderedDict((key, value) for key, value in state.items() if not key.endswith(COUNTER))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_is_recognised(random_state: RandomState, architecture: str) -> None:
    for state in (random_state(architecture), without_counters(random_state(architecture))):
        assert closest(state) == architecture
        assert find_misfit(state, architecture) == ""
        assert all(find_misfit(state, other) for other in ARCHITECTURES if other != architecture)


def test_a_damaged_state_is_still_recognised(random_state: RandomState) -> None:
    state = random_state("iog-resnet101-refinement").copy()
    for key in [key for key in state if key.startswith(("iog_points.", "Fine_net."))]:
        del state[key]
    assert closest(state) == "iog-resnet101-refinement"


def test_the_first_key_of_each_kind_is_named(random_state: RandomState) -> None:
    state = without_counters(random_state("iog-resnet101"))
    del state["backbone.conv1.weight"], state["psp4.bottleneck.1.bias"]
    state["module.extra"] = torch.zeros(2)
    state["backbone.bn1.weight"] = torch.zeros(65)
    assert find_misfit(state, "iog-resnet101") == (
        "2 missing, first backbone.conv1.weight; 1 unexpected, first module.extra; "
        "1 misshapen, first backbone.bn1.weight [65] instead of [64]"
    )


@pytest.mark.parametrize(
    ("bad", "flaw"),
    [
        (torch.zeros(32, dtype=torch.int8), "torch.int8 (torch.strided) instead of torch.float32"),
        (torch.zeros(32).to_sparse(), "torch.float32 (torch.sparse_coo) instead of torch.float32"),
        (torch.zeros(()), "[] instead of [32]"),
    ],
)
def test_a_tensor_has_to_be_of_a_usable_type(
    random_state: RandomState, bad: torch.Tensor, flaw: str
) -> None:
    state = random_state("iog-lite").copy()
    state["backbone.bn1.weight"] = bad
    assert find_misfit(state, "iog-lite") == f"1 misshapen, first backbone.bn1.weight {flaw}"


def test_completing_fills_counters_casts_and_sorts(random_state: RandomState) -> None:
    original = random_state("iog-lite")
    halves = OrderedDict(
        (key, value.half() if value.is_floating_point() else value.int())
        for key, value in reversed(without_counters(original).items())
    )
    done = complete(halves, "iog-lite")
    assert list(done) == list(original)
    for key, value in done.items():
        assert value.dtype == original[key].dtype
        if key.endswith(COUNTER):
            assert value.item() == 0
        else:
            torch.testing.assert_close(value, original[key], atol=5e-4, rtol=0)


def test_completing_does_not_copy_what_is_right(random_state: RandomState) -> None:
    state = random_state("iog-lite")
    done = complete(state, "iog-lite")
    assert all(done[key].data_ptr() == value.data_ptr() for key, value in state.items())
    assert not any(value.requires_grad for value in done.values())
