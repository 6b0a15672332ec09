"""What moves the weights: parameter groups, the optimiser, its schedule, the moving average."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from iog.training.config import TrainingConfig

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over ``parameter_groups``."""
    groups = parameter_groups(network, config)
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr_decoder, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr_decoder)


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """What ImageNet taught and the rest apart, each with and without weight decay."""
    groups = []
    for pretrained, rate in ((True, config.lr_backbone), (False, config.lr_decoder)):
        named = [
            p
            for name, p in network.named_parameters()
            if _is_pretrained(name, config) == pretrained
        ]
        for decays in (True, False):
            parameters = [p for p in named if (p.ndim > 1 or config.decay_norms) == decays]
            decay = config.weight_decay if decays else 0.0
            groups.append({"params": parameters, "peak": rate, "lr": rate, "weight_decay": decay})
    return [group for group in groups if group["params"]]


def _is_pretrained(name: str, config: TrainingConfig) -> bool:
    stem = ("backbone.conv1.", "backbone.bn1.")
    return name.startswith("backbone.") and not (config.fresh_stem and name.startswith(stem))


def set_learning_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    """Rise over the warm-up; then stay, or fall to zero along a cosine over the whole run."""
    rate = min(1.0, (step + 1) / max(config.warm_up, 1))
    if config.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * rate


def make_average(network: nn.Module, decay: float) -> AveragedModel:
    """The weights to save: their exponential moving average, or with decay 0 themselves."""
    return AveragedModel(network, multi_avg_fn=_moving_average(decay), use_buffers=True)


def _moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Exponential moving average that begins short, so that the first steps are soon forgotten."""

    @torch.no_grad()
    def update(average: Tensors, current: Tensors, count: Tensor | int) -> None:
        weight = 1.0 - min(decay, (1.0 + int(count)) / (10.0 + int(count)))
        for kept, new in zip(average, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, weight)
            else:  # BatchNorm's counters
                kept.copy_(new)

    return update
