"""What a batch's loss is, for each kind of network and recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iog.training.config import TrainingConfig
from iog.training.corrections import corrected_clicks, upstream_click
from iog.training.dataset import Example
from networks import MainNetwork, RefinementNetwork
from networks.blocks import resize
from networks.losses import focal_bce, soft_iou_loss, summed_bce

GOOD_ENOUGH = 0.95
"""Mean IoU of a batch's first pass from which the published recipe learns no correction."""
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Objective(nn.Module):
    """A network with its loss, as one module: what is trained, also on several GPUs.

    Args:
        network: a ``MainNetwork`` or ``RefinementNetwork``.
        config: loss, clicks and precision.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self._config = config

    def forward(self, x: Tensor, label: Tensor, valid: Tensor, step: int) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            x: float32 [N, 5, S, S]: R, G, B, inside map, outside map, 0..255.
            label, valid: float32 [N, 1, S, S], 0 or 1.
            step: decides the random clicks.
        """
        example = Example(x.contiguous(memory_format=torch.channels_last), label, valid)
        return batch_loss(self.network, example, self._config, step)


def batch_loss(network: nn.Module, example: Example, config: TrainingConfig, step: int) -> Tensor:
    """The loss of one batch; see ``Objective``."""
    dtype = AUTOCAST.get(config.precision)
    autocast = torch.autocast(
        # Without its cache of cast weights: some are first cast where no gradient is kept.
        example.x.device.type,
        dtype,
        enabled=dtype is not None,
        cache_enabled=False,
    )
    if isinstance(network, MainNetwork):
        with autocast:
            outputs = network(example.x)
        return _loss([o.float() for o in outputs], example, config)
    assert isinstance(network, RefinementNetwork)
    if config.loss == "summed_bce":
        return _two_passes(network, example, config, autocast)
    clicks = example.x[:, 3:]
    with autocast:
        features = network.encode(example.x)
    rng = np.random.default_rng((config.seed, step))
    if rng.random() < config.click_share:
        with torch.no_grad(), autocast:
            logits = network.decode_fine(features, clicks)
        clicks = corrected_clicks(
            _full_size(logits.float(), example),
            example.label,
            example.valid,
            clicks,
            fwhm=_fwhm(example, config),
            max_clicks=config.max_clicks,
            rng=rng,
        )
    with autocast:
        outputs = network.decode(features, clicks)
    return _loss([o.float() for o in outputs], example, config)


def _two_passes(
    network: RefinementNetwork, example: Example, config: TrainingConfig, autocast: torch.autocast
) -> Tensor:
    """The published refinement recipe: the first clicks, then one on the largest error."""
    maps = example.x[:, 3:]
    with autocast:
        features = network.encode(example.x)
        first = [o.float() for o in network.decode(features, maps)]
    loss = _loss(first, example, config)
    logits = _full_size(first[-1].detach(), example)
    if _mean_iou(logits, example) >= GOOD_ENOUGH:
        # Every parameter takes part in every step, which several GPUs rely on.
        return loss
    maps = upstream_click(logits, example, maps, fwhm=_fwhm(example, config), slips=config.upstream)
    with autocast:
        second = [o.float() for o in network.decode(features, maps)]
    return 0.5 * loss + 0.5 * _loss(second, example, config)


def _loss(outputs: Sequence[Tensor], example: Example, config: TrainingConfig) -> Tensor:
    """Fine and weighted side losses. Side predictions may be smaller than the frame."""
    *sides, fine = outputs
    if config.loss == "summed_bce":
        void = 1.0 - example.valid
        losses = [summed_bce(_full_size(o, example), example.label, void) for o in outputs]
        total = losses[-1] + config.side_weight * torch.stack(losses[:-1]).sum()
        return total + losses[-2] if config.upstream.coarse3_twice else total
    fine = _full_size(fine, example)
    label, valid = example.label, example.valid
    loss = focal_bce(fine, label, valid) + soft_iou_loss(fine, label, valid)
    small = (sides[0].shape[-2], sides[0].shape[-1])
    small_label = F.adaptive_avg_pool2d(label, small)
    small_valid = (F.adaptive_avg_pool2d(valid, small) > 0.5).to(valid.dtype)
    for side in sides:
        side_loss = focal_bce(side, small_label, small_valid)
        side_loss = side_loss + soft_iou_loss(side, small_label, small_valid)
        loss = loss + config.side_weight * side_loss
    return loss


def _fwhm(example: Example, config: TrainingConfig) -> float:
    """Width of a click in the example's frame, which is smaller in a run's first part."""
    return config.crop.fwhm * example.x.shape[-1] / config.crop.input_size


def _full_size(logits: Tensor, example: Example) -> Tensor:
    return resize(logits, (example.label.shape[-2], example.label.shape[-1]))


def _mean_iou(logits: Tensor, example: Example) -> float:
    mask, truth = (logits > 0) & (example.valid > 0), (example.label > 0.5) & (example.valid > 0)
    union = (mask | truth).sum(dim=(1, 2, 3))
    both = (mask & truth).sum(dim=(1, 2, 3))
    return float((both / union.clamp_min(1)).mean())
