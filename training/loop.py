"""The training loop, to be read from top to bottom.

Plain torch on whatever cores there are. Every step's examples, clicks and learning rate follow
from the settings and the step's number, so a run that was killed goes on from its last checkpoint
as if nothing had happened.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from dataloaders.instance_masks import InstanceMasks
from networks import RefinementNetwork, build_network
from networks.backbones import MobileNetV1
from networks.blocks import resize
from networks.checkpoints import read_checkpoint, save
from networks.losses import focal_bce, soft_iou_loss
from training.commit import current_commit
from training.config import ConfigError, TrainingConfig
from training.corrections import corrected_clicks
from training.dataset import Example, TrainingSamples
from training.initial import load_mobilenet
from training.validation import validate

CHECKPOINT = "last.pt"
LOG = "log.csv"
MAY_CHANGE = {"workers", "threads", "checkpoint_every", "validate_every"}
"""Settings that a resumed run may change: the result does not depend on them."""
Tensors = tuple[Tensor, ...] | list[Tensor]


def train(config: TrainingConfig, *, data: Path, initial: Path | None, out: Path) -> Path:
    """Train, or go on training, a refinement-type network.

    Args:
        config: all settings.
        data: photographs with instance masks, a folder or tar with ``train`` and ``val`` splits.
        initial: ImageNet weights of the backbone (``.npz``), used when the run starts anew.
        out: the run's folder: checkpoint and log; it decides whether the run starts or resumes.

    Returns:
        The checkpoint's path.
    """
    out.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)

    network = build_network(config.architecture)
    if not isinstance(network, RefinementNetwork):
        raise ConfigError(f"{config.architecture} has no click branch to train with corrections")
    if initial is not None and isinstance(network.backbone, MobileNetV1):
        load_mobilenet(network.backbone, initial)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(
        network,
        multi_avg_fn=_moving_average(config.ema),
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(_parameter_groups(network, config))

    start = _resume(out / CHECKPOINT, config, network, average, optimiser)
    commit = current_commit()
    batches = _batches(config, data, start)
    began, losses = time.perf_counter(), []
    for step in range(start, config.steps):
        example = next(batches)
        _set_learning_rate(optimiser, config, step)
        network.train()
        loss = batch_loss(network, example, config, step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimiser.step()
        average.update_parameters(network)
        losses.append(loss.item())

        done = step + 1
        if done % config.checkpoint_every == 0 or done == config.steps:
            rate = (done - start) * config.batch / (time.perf_counter() - began)
            row = {"step": float(done), "loss": float(np.mean(losses)), "samples_per_s": rate}
            losses.clear()
            if done % config.validate_every == 0 or done == config.steps:
                row |= validate(average.module, config, InstanceMasks(data, split="val"))
            metadata = {"data": data.name, "metrics": row, "commit": commit}
            _save(
                out / CHECKPOINT, network, average, optimiser, config, metadata=metadata, step=done
            )
            _log(out / LOG, row)
    return out / CHECKPOINT


def batch_loss(
    network: RefinementNetwork, example: Example, config: TrainingConfig, step: int
) -> Tensor:
    """The loss of one batch: the first click, and for some batches corrections of its result.

    Args:
        network: in training mode.
        example: a batch: x [N, 5, S, S], label and valid [N, 1, S, S].
        step: decides the network frame and the random clicks.
    """
    x = example.x.contiguous(memory_format=torch.channels_last)
    label, valid = example.label, example.valid
    size = (x.shape[-2], x.shape[-1])
    clicks = x[:, 3:]
    autocast = torch.autocast(
        x.device.type, torch.bfloat16, enabled=config.precision == "bf16", cache_enabled=False
    )
    with autocast:
        features = network.encode(x)
    rng = np.random.default_rng((config.seed, step))
    if rng.random() < config.click_share:
        with torch.no_grad(), autocast:
            logits = resize(network.decode_fine(features, clicks).float(), size)
        clicks = corrected_clicks(
            logits,
            label,
            valid,
            clicks,
            fwhm=config.frame_at(step).fwhm,
            max_clicks=config.max_clicks,
            rng=rng,
        )
    with autocast:
        *sides, fine = (logits.float() for logits in network.decode(features, clicks))
    fine = resize(fine, size)
    loss = focal_bce(fine, label, valid) + soft_iou_loss(fine, label, valid)
    small = (sides[0].shape[-2], sides[0].shape[-1])
    small_label = F.adaptive_avg_pool2d(label, small)
    small_valid = (F.adaptive_avg_pool2d(valid, small) > 0.5).to(valid.dtype)
    for side in sides:
        side_loss = focal_bce(side, small_label, small_valid)
        side_loss = side_loss + soft_iou_loss(side, small_label, small_valid)
        loss = loss + config.side_weight * side_loss
    return loss


def _parameter_groups(network: RefinementNetwork, config: TrainingConfig) -> list[dict[str, Any]]:
    """Backbone and decoder apart, BatchNorm's parameters without weight decay."""
    groups = []
    for pretrained, rate in ((True, config.lr_backbone), (False, config.lr_decoder)):
        named = [p for name, p in network.named_parameters() if _is_pretrained(name) == pretrained]
        for decay, wanted in ((config.weight_decay, True), (0.0, False)):
            parameters = [p for p in named if (p.ndim > 1) == wanted]
            groups.append({"params": parameters, "peak": rate, "lr": rate, "weight_decay": decay})
    return groups


def _is_pretrained(name: str) -> bool:
    """Whether ImageNet taught it; the first convolution has yet to learn the guidance maps."""
    return name.startswith("backbone.") and not name.startswith(
        ("backbone.conv1.", "backbone.bn1.")
    )


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


def _set_learning_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    rise = min(1.0, (step + 1) / max(config.warm_up, 1))
    fall = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * rise * fall


def _batches(config: TrainingConfig, data: Path, start: int) -> Iterator[Example]:
    samples = TrainingSamples(InstanceMasks(data, split="train"), config)
    loader = DataLoader(
        samples,
        batch_size=config.batch,
        sampler=range(start * config.batch, len(samples)),
        num_workers=config.workers,
        prefetch_factor=6 if config.workers else None,
        worker_init_fn=_single_thread,
        # A forked process inherits OpenCV's thread pool without its threads and may hang on it.
        multiprocessing_context="spawn" if config.workers else None,
    )
    return iter(loader)


def _single_thread(_: int) -> None:
    cv2.setNumThreads(1)


def _resume(
    path: Path,
    config: TrainingConfig,
    network: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> int:
    """Put everything back to where the checkpoint left it; the step to go on with."""
    if not path.is_file():
        return 0
    checkpoint = read_checkpoint(path)
    before, now = checkpoint.metadata["config"], json.loads(json.dumps(config.as_dict()))
    changed = [key for key in now if key not in MAY_CHANGE and before.get(key) != now[key]]
    if changed:
        raise ConfigError(
            f"{path} was trained with {changed[0]} = {before.get(changed[0])!r}, not "
            f"{now[changed[0]]!r}: go on with the old settings, or start in another folder"
        )
    network.load_state_dict(checkpoint.training["network"])
    average.module.load_state_dict(checkpoint.state)
    average.n_averaged.fill_(checkpoint.training["averaged"])
    optimiser.load_state_dict(checkpoint.training["optimiser"])
    return int(checkpoint.training["step"])


def _save(
    path: Path,
    network: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
    *,
    metadata: Mapping[str, Any],
    step: int,
) -> None:
    """Save weights that can be served as they are, and what resuming needs beside them."""
    save(
        path,
        average.module.state_dict(),
        architecture=config.architecture,
        crop=config.crop,
        threshold=config.threshold,
        metadata={**metadata, "steps": step, "config": config.as_dict()},
        training={
            "step": step,
            "network": network.state_dict(),
            "averaged": int(average.n_averaged),
            "optimiser": optimiser.state_dict(),
        },
    )


def _log(path: Path, row: dict[str, float]) -> None:
    print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    columns = ["step", "loss", "samples_per_s", "iou", "share_over_85", "iou_clicks"]
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)
