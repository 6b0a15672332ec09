"""Scores on the validation split while training, with the same prediction as in serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from caching import ByteCache
from dataloaders.instance_masks import InstanceMasks
from evaluation.clicks import click_curve
from networks.engines import TorchEngine
from predictor import Predictor
from training.config import TrainingConfig

CORRECTIONS = 3


def validate(network: nn.Module, config: TrainingConfig, data: Path) -> dict[str, float]:
    """Mean IoU with a tight box and one click, and after three corrections, over ``val``.

    Args:
        network: put into eval mode.
    """
    predictor = Predictor(
        TorchEngine(network.eval()),
        config.crop,
        threshold=config.threshold,
        cache=ByteCache[Any](64 << 20),
    )
    objects = InstanceMasks(data, split="val")
    curves = np.array(
        [
            click_curve(predictor, objects[i], corrections=CORRECTIONS, threshold=config.threshold)
            for i in range(len(objects))
        ]
    )
    return {
        "iou": float(curves[:, 0].mean()),
        "share_over_85": float((curves[:, 0] > 0.85).mean()),
        "iou_clicks": float(curves[:, -1].mean()),
    }
