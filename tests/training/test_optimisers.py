"""Which parameters learn how fast, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from iog.training.config import TrainingConfig
from iog.training.optimisers import (
    make_average,
    make_optimiser,
    parameter_groups,
    set_learning_rate,
)
from networks import build_network

CONFIG = TrainingConfig(steps=100, warm_up=10)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_network("iog-lite")


def test_every_parameter_learns_once(network: nn.Module) -> None:
    grouped = [p for group in parameter_groups(network, CONFIG) for p in group["params"]]
    assert len(grouped) == len(list(network.parameters()))
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize(("fresh", "rate"), [(True, 1.5e-3), (False, 4e-4)])
def test_the_stem_is_as_new_as_the_recipe_says(
    network: nn.Module, fresh: bool, rate: float
) -> None:
    stem = network.get_parameter("backbone.conv1.weight")
    groups = parameter_groups(network, replace(CONFIG, fresh_stem=fresh))
    (found,) = (g["peak"] for g in groups if any(p is stem for p in g["params"]))
    assert found == rate


@pytest.mark.parametrize("decays", [True, False])
def test_norms_decay_only_where_the_recipe_says(network: nn.Module, decays: bool) -> None:
    norm = network.get_parameter("backbone.layer1.0.bn1.weight")
    groups = parameter_groups(network, replace(CONFIG, decay_norms=decays))
    (found,) = (g["weight_decay"] for g in groups if any(p is norm for p in g["params"]))
    assert (found > 0) == decays


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.01), ("constant", 1.0)])
def test_learning_rates_rise_and_then_fall_or_stay(schedule: str, last: float) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [parameter], "peak": 1.0}], lr=1.0)
    rates = []
    for step in range(100):
        set_learning_rate(optimiser, replace(CONFIG, schedule=schedule), step)
        rates.append(optimiser.param_groups[0]["lr"])
    assert int(np.argmax(rates)) == 9
    assert rates[0] < 0.2
    assert rates[-1] == pytest.approx(last, abs=0.01)


def test_the_optimiser_is_the_recipes(network: nn.Module) -> None:
    sgd = make_optimiser(network, replace(CONFIG, optimiser="sgd", momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["momentum"] == 0.8
    assert isinstance(make_optimiser(network, CONFIG), torch.optim.AdamW)


@pytest.mark.parametrize(("decay", "kept"), [(0.0, 5.0), (0.5, 4.0)])
def test_the_average_forgets_at_its_decay(decay: float, kept: float) -> None:
    module = nn.Linear(1, 1, bias=False)
    average = make_average(module, decay)
    for value in range(1, 31):
        with torch.no_grad():
            module.weight.fill_(min(value, 30) - 25)
        average.update_parameters(module)
    weight = float(next(average.module.parameters()).detach())
    assert weight == pytest.approx(kept, abs=0.05)
