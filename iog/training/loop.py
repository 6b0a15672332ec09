"""The training loop, to be read from top to bottom.

Every step's examples, clicks and learning rate follow from the settings and the step's number, so
a run that was killed goes on from its last checkpoint as if nothing had happened. With more steps
it goes on too, and the schedule is from there on that of the new length.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from dataloaders.samples import Dataset
from iog.cache import Cache
from iog.engines.torch_engine import TorchEngine
from iog.errors import SettingsError, WeightsError
from iog.evaluation.protocols import AnnotatorProtocol
from iog.evaluation.run import score_objects
from iog.evaluation.scores import Summary
from iog.evaluation.segmenters import PredictorSegmenter
from iog.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from iog.models.spec import own_spec
from iog.predictor import Predictor
from iog.training.config import TrainingConfig, present_names
from iog.training.dataset import Example, TrainingSamples
from iog.training.distributed import DistInfo, init_distributed, wait_for_all
from iog.training.initial import load_initial
from iog.training.objectives import Objective
from iog.training.optimisers import make_average, make_optimiser, set_learning_rate
from iog.training.runlog import Row, RunLog
from networks import build_network
from networks.depthwise import DepthwiseConv
from networks.fused import fuse

CHECKPOINT = "last.pt"
BEST = "best.pt"
CLICKS = 4
"""Of a validated object: the first and three corrections."""
MAY_CHANGE = {"workers", "threads", "checkpoint_every", "validate_every", "validate_objects"}
"""Settings that a resumed run may change, beside ``steps``: the weights do not depend on them."""
Report = Callable[[int, Row | None], None]
"""Told of every finished step, and of its row in the log where there is one."""


def train(
    config: TrainingConfig,
    data: Dataset,
    validation: Dataset | None,
    *,
    initial: Checkpoint | Path | None,
    out: Path,
    device: str = "auto",
    described: str = "",
    report: Report | None = None,
) -> Path:
    """Train, or go on training, a network.

    Args:
        config: all settings.
        data: the objects to learn from.
        validation: the objects to be judged by; ``None`` leaves validation out.
        initial: weights to start from, used when the run starts anew.
        out: the run's folder: checkpoints and logs; it decides whether the run starts or resumes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        described: the data in words, for the checkpoint.
        report: told of every step.

    Returns:
        The last checkpoint's path; the best one by validation lies beside it as ``best.pt``.

    Raises:
        SettingsError: settings that do not go together, or differ from those of the run to resume.
        WeightsError: initial weights of another network.
        DatasetError: there is nothing to train on.
    """
    with init_distributed(device) as dist:
        return _train(
            config.for_data(len(data)), data, validation, initial, out, dist, described, report
        )


def _train(
    config: TrainingConfig,
    data: Dataset,
    validation: Dataset | None,
    initial: Checkpoint | Path | None,
    out: Path,
    dist: DistInfo,
    described: str,
    report: Report | None,
) -> Path:
    _check(config, dist)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)

    network = build_network(config.architecture)
    if config.foreign_prob and getattr(network, "click_maps", 2) == 2:
        raise SettingsError(
            f"foreign_prob is {config.foreign_prob}, but {config.architecture} reads no mask to "
            "correct: set it to 0, or train iog-lite"
        )
    if initial is not None:
        load_initial(network, initial)
    network = network.to(dist.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = make_average(network, config.ema)
    optimiser = make_optimiser(network, config)
    scaler = torch.amp.GradScaler(dist.device.type, enabled=config.precision == "fp16")
    start = _resume(out / CHECKPOINT, config, network, average, optimiser, scaler)

    objective: nn.Module = Objective(network, config)
    if dist.world > 1:  # one parameter of the published design is never used
        objective = DistributedDataParallel(objective, find_unused_parameters=True)
    log = RunLog(out, step=start) if dist.is_main else None
    batches = _batches(config, data, start, dist)
    about, began = _about(described), time.perf_counter()
    losses: list[float] = []
    for step in range(start, config.steps):
        set_learning_rate(optimiser, config, step)
        _set_mode(network, config, step)
        loss = 0.0
        for turn in range(config.accumulate):
            loss += _backward(objective, next(batches), scaler, config, step, turn, dist)
        losses.append(_finite(loss, losses, scaler, step))
        _update(network, optimiser, scaler, config)
        average.update_parameters(network)

        done = step + 1
        row: Row | None = None
        if done % config.checkpoint_every == 0 or done == config.steps:
            rate = (done - start) / (time.perf_counter() - began) * config.batch * config.accumulate
            lr = optimiser.param_groups[-1]["lr"]
            row = {"step": done, "loss": float(np.mean(losses)), "lr": lr, "samples_per_s": rate}
            losses.clear()
            if log is not None:
                if validation is not None and _is_due(config, done):
                    row |= validate(average.module, config, validation)
                state = _training_state(done, network, average, optimiser, scaler)
                _save(out, average, config, {**about, "metrics": row}, state, log)
            wait_for_all(dist)
        if report is not None and dist.is_main:
            report(done, row)
    if log is not None:
        log.close()
    return out / CHECKPOINT


def _about(data: str) -> dict[str, Any]:
    return {"data": data, "commit": current_commit()}


def _check(config: TrainingConfig, dist: DistInfo) -> None:
    """Refuse settings that torch would refuse later, and less clearly."""
    share, rest = divmod(config.batch, dist.world)
    if rest:
        raise SettingsError(f"batch = {config.batch} does not divide among {dist.world} processes")
    if share == 1 and not config.freeze_norms:
        raise SettingsError(
            "a batch of 1 has no variance that BatchNorm could use: choose 2 or more for each "
            "process, or freeze_norms = true"
        )
    if config.precision == "fp16" and dist.device.type != "cuda":
        raise SettingsError("precision fp16 needs a CUDA device; on the CPU choose bf16 or fp32")


def _set_mode(network: nn.Module, config: TrainingConfig, step: int) -> None:
    network.train()
    for module in network.modules():
        if isinstance(module, DepthwiseConv):
            module.weight.requires_grad_(step % config.depthwise_every == 0)
    if config.freeze_norms:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _backward(
    objective: nn.Module,
    example: Example,
    scaler: torch.amp.GradScaler,
    config: TrainingConfig,
    step: int,
    turn: int,
    dist: DistInfo,
) -> float:
    """Add one batch's gradients to the step's; the share of the loss that it is."""
    last = turn == config.accumulate - 1
    waits = isinstance(objective, DistributedDataParallel) and not last
    with objective.no_sync() if waits else nullcontext():  # type: ignore[operator]
        tensors = (t.to(dist.device, non_blocking=True) for t in example)
        loss = objective(*tensors, step * config.accumulate + turn) / config.accumulate
        scaler.scale(loss).backward()
    return float(loss.detach())


def _finite(loss: float, before: list[float], scaler: torch.amp.GradScaler, step: int) -> float:
    """The loss, or with fp16 the one before it where a step overflowed, which the scaler skips.

    Raises:
        SettingsError: the run is lost.
    """
    if math.isfinite(loss):
        return loss
    if scaler.is_enabled() and before and scaler.get_scale() > 1.0:
        return before[-1]
    raise SettingsError(f"the loss of step {step + 1} is {loss}: lower the learning rates")


def _update(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    config: TrainingConfig,
) -> None:
    if config.gradient_clip:
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad(set_to_none=True)


def _is_due(config: TrainingConfig, done: int) -> bool:
    """Whether to validate now. Only checkpoints are validated, so the next one after it is due."""
    if done == config.steps:
        return True
    if not config.validate_every:
        return False
    every, checkpoint = config.validate_every, config.checkpoint_every
    return done // every > (done - checkpoint) // every


def _batches(
    config: TrainingConfig, data: Dataset, start: int, dist: DistInfo
) -> Iterator[Example]:
    """This process's share of every batch from step ``start`` on."""
    samples = TrainingSamples(data, config)
    share = config.batch // dist.world
    first = start * config.accumulate
    numbers = [
        range(n * config.batch + dist.rank * share, n * config.batch + (dist.rank + 1) * share)
        for n in range(first, config.steps * config.accumulate)
    ]
    loader = DataLoader(
        samples,
        batch_sampler=numbers,  # type: ignore[arg-type]
        num_workers=config.workers,
        prefetch_factor=6 if config.workers else None,
        worker_init_fn=_single_thread,
        pin_memory=dist.device.type == "cuda",
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
    scaler: torch.amp.GradScaler,
) -> int:
    """Put everything back to where the checkpoint left it; the step to go on with."""
    if not path.is_file():
        return 0
    checkpoint = read_checkpoint(path)
    if not checkpoint.training:
        raise WeightsError(f"{path} is not a checkpoint that a run can go on from.")
    before = present_names(checkpoint.metadata["config"])
    before["architecture"] = checkpoint.spec.architecture  # by its present name
    now = json.loads(json.dumps(config.as_dict()))
    may_change = {*MAY_CHANGE, "steps"}  # what comes follows the new length
    changed = [key for key in now if key not in may_change and before.get(key) != now[key]]
    if changed:
        raise SettingsError(
            f"{path} was trained with {changed[0]} = {before.get(changed[0])!r}, not "
            f"{now[changed[0]]!r}: go on with the old settings, or start in another folder"
        )
    done = int(checkpoint.training["step"])
    if config.steps < done:
        raise SettingsError(
            f"{path} has been trained for {done} steps, more than the {config.steps} asked for: "
            f"give {done} or more, or start in another folder"
        )
    network.load_state_dict(checkpoint.training["network"])
    average.module.load_state_dict(checkpoint.state)
    average.n_averaged.fill_(checkpoint.training["averaged"])
    optimiser.load_state_dict(checkpoint.training["optimiser"])
    scaler.load_state_dict(checkpoint.training["scaler"])
    return done


def _training_state(
    step: int,
    network: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> dict[str, Any]:
    """What resuming needs beside the weights to serve."""
    return {
        "step": step,
        "network": network.state_dict(),
        "averaged": int(average.n_averaged),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
    }


def _save(
    out: Path,
    average: AveragedModel,
    config: TrainingConfig,
    metadata: Mapping[str, Any],
    state: dict[str, Any],
    log: RunLog,
) -> None:
    """Save the best weights, the log and then the checkpoint, so that a kill loses none of them."""
    row = metadata["metrics"]

    def write(name: str, training: dict[str, Any]) -> None:
        spec = own_spec(
            out / name,
            architecture=config.architecture,
            crop=config.crop,
            threshold=config.threshold,
        )
        described = {**metadata, "steps": state["step"], "config": config.as_dict()}
        weights = average.module.state_dict()
        write_checkpoint(out / name, Checkpoint(spec, weights, described, training))

    if row.get("iou", -1.0) > log.best():
        write(BEST, {})
    log.write(row)
    write(CHECKPOINT, state)


def export(checkpoint: Path, out: Path) -> Path:
    """Write the averaged weights of a run as a self-describing checkpoint, stored as fp16.

    Args:
        checkpoint: the run's ``last.pt``.
        out: the file to write.

    Returns:
        ``out``.
    """
    found = replace(read_checkpoint(checkpoint), training={})
    write_checkpoint(out, found, dtype=torch.float16)
    return out


def current_commit() -> str:
    """The commit of this code, or ``unknown`` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def validate(network: nn.Module, config: TrainingConfig, objects: Dataset) -> dict[str, float]:
    """Mean IoU with a tight box and one click, and after three corrections, over ``objects``.

    Args:
        network: put into eval mode.
        objects: data the network is not trained on.
    """
    spec = own_spec(
        Path("validation"),
        architecture=config.architecture,
        crop=config.crop,
        threshold=config.threshold,
    )
    predictor = Predictor(TorchEngine(fuse(network.eval()), spec), cache=Cache(64 << 20))
    protocol = AnnotatorProtocol(threshold=config.threshold, clicks=CLICKS)
    scores = score_objects(
        PredictorSegmenter(predictor), objects, protocol, limit=config.validate_objects or None
    )
    summary = Summary.of(list(scores))
    return {
        "iou": summary.ious[0],
        "share_over_85": summary.good,
        "iou_clicks": summary.ious[-1],
    }
