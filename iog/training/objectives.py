"""The loss of a batch, for each kind of network and recipe, with its corrective clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dataloaders.annotator import inside_point
from dataloaders.guidance import PixelXY, add_clicks, most_interior_point
from iog.training.config import TrainingConfig, Upstream
from iog.training.dataset import Example
from networks import MainNetwork, RefinementNetwork
from networks.backbones import Features
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

    def forward(
        self, x: Tensor, label: Tensor, valid: Tensor, previous: Tensor, step: int
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            x: float32 [N, 5, S, S]: R, G, B, inside map, outside map, 0..255.
            label, valid: float32 [N, 1, S, S], 0 or 1.
            previous: float32 [N, 1, S, S], 0..255: masks to correct, zeros for none.
            step: decides the random clicks.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        example = Example(x, label, valid, previous)
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
    if network.click_maps == 3:
        clicks = _with_previous(network, features, example, config, autocast, rng)
    elif rng.random() < config.click_prob:
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


def _with_previous(
    network: RefinementNetwork,
    features: Features,
    example: Example,
    config: TrainingConfig,
    autocast: torch.autocast,
    rng: np.random.Generator,
) -> Tensor:
    """All maps of the click branch, float32 [N, 3, S, S], as the predictor will make them.

    A first click comes without a mask. Later clicks come with the network's own mask for the first
    click, or with the sample's mask from elsewhere. Half of the time the second click, and those
    after it, correct what the network makes of the clicks before.

    Each sample is corrected or not, whatever the others are: BatchNorm keeps one statistic for
    both, and batches of one kind would teach the network to rely on two.
    """
    first, previous = example.x[:, 3:], example.previous
    foreign = previous.amax(dim=(1, 2, 3), keepdim=True) > 0
    drawn = torch.from_numpy(rng.random(len(first)) < config.click_prob).to(first.device)
    corrected = foreign | drawn[:, None, None, None]
    if not corrected.any():
        return torch.cat([first, previous], dim=1)

    def predicted(clicks: Tensor, previous: Tensor) -> Tensor:
        """The mask as it will be predicted: with the statistics that BatchNorm keeps."""
        with torch.no_grad(), autocast, _evaluating(network):
            logits = network.decode_fine(features, torch.cat([clicks, previous], dim=1))
        return torch.sigmoid(_full_size(logits.float(), example)) * 255.0

    def clicked(mask: Tensor, clicks: Tensor, most: int) -> Tensor:
        return corrected_clicks(
            mask - 127.5,
            example.label,
            example.valid,
            clicks,
            fwhm=_fwhm(example, config),
            max_clicks=most,
            rng=rng,
        )

    own = predicted(first, torch.zeros_like(previous))
    start = torch.where(foreign, previous, own)
    if rng.random() < 0.5:
        clicks = clicked(start, first, config.max_clicks)
    else:
        clicks = clicked(start, first, 1)
        clicks = clicked(predicted(clicks, start), clicks, max(config.max_clicks - 1, 1))
    clicks = torch.where(corrected, clicks, first)
    return torch.cat([clicks, torch.where(corrected, start, 0.0)], dim=1)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode for a while."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


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


def corrected_clicks(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    maps: Tensor,
    *,
    fwhm: float,
    max_clicks: int,
    rng: np.random.Generator,
) -> Tensor:
    """Guidance maps for the click branch after one to ``max_clicks`` corrections per sample.

    The first correction goes to the centre of the largest error; the others anywhere well inside
    the remaining ones, as people click.

    Args:
        logits: [N, 1, S, S], the prediction to correct.
        label, valid: float32 [N, 1, S, S], 0 or 1.
        maps: float32 [N, 2, S, S] in 0..255, the first guidance maps.

    Returns:
        float32 [N, 2, S, S] in 0..255.
    """

    def choose(error: NDArray[np.bool_]) -> list[PixelXY]:
        count = int(rng.integers(1, max_clicks + 1))
        worst = most_interior_point(error)
        points = [] if worst is None else [worst]
        for _ in range(count - 1):
            xy = inside_point(error, rng, depth=0.5)
            if xy is None:
                break
            points.append(xy)
            error = _without(error, xy)
        return points

    return _clicked(logits, label, valid, maps, choose, fwhm=fwhm)


def upstream_click(
    logits: Tensor, example: Example, maps: Tensor, *, fwhm: float, slips: Upstream
) -> Tensor:
    """Guidance maps after one correction per sample, as the published refinement was trained.

    Args:
        logits: [N, 1, S, S], the prediction to correct.
        example: the batch.
        maps: float32 [N, 2, S, S] in 0..255, the first guidance maps.
        fwhm: width of a guidance peak at half its height.
        slips: which of the official code's slips to repeat.

    Returns:
        float32 [N, 2, S, S] in 0..255.
    """

    def choose(error: NDArray[np.bool_]) -> list[PixelXY]:
        point = _upstream_point(error, slips)
        return [] if point is None else [point]

    label, valid, transposed = example.label, example.valid, slips.transposed_polarity
    return _clicked(logits, label, valid, maps, choose, fwhm=fwhm, transposed=transposed)


def _clicked(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    maps: Tensor,
    choose: Callable[[NDArray[np.bool_]], list[PixelXY]],
    *,
    fwhm: float,
    transposed: bool = False,
) -> Tensor:
    """Guidance maps with clicks where ``choose`` wants them in each sample's errors, bool [S, S].

    The truth at a click decides whether it is inside, or at its mirror image if ``transposed``.
    """
    errors = ((logits > 0) != (label > 0.5)) & (valid > 0.5)
    truths = (label > 0.5).mT if transposed else label > 0.5
    out = []
    for error, truth, first in zip(
        *(t[:, 0].cpu().numpy() for t in (errors, truths)), maps.cpu().numpy(), strict=True
    ):
        clicks: tuple[list[PixelXY], list[PixelXY]] = ([], [])
        for x, y in choose(error):
            clicks[0 if truth[y, x] else 1].append((x, y))
        out.append(torch.from_numpy(add_clicks(first, *clicks, fwhm=fwhm)))
    return torch.stack(out).to(maps.device)


def _upstream_point(error: NDArray[np.bool_], slips: Upstream) -> PixelXY | None:
    if not error.any():
        return (0, 0) if slips.click_at_origin else None
    if not slips.unpadded_distance:
        return most_interior_point(error)
    if error.all():
        return 0, 0
    depth = cv2.distanceTransform(error.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(column), int(row)


def _without(error: NDArray[np.bool_], xy: PixelXY) -> NDArray[np.bool_]:
    """The error with the neighbourhood of a click taken out."""
    left = error.copy()
    reach = max(error.shape) // 16
    x, y = xy
    left[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = False
    return left
