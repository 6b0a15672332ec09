"""Scores on the validation split while training, with the same prediction as in serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from caching import ByteCache
from dataloaders.instance_masks import InstanceMasks
from evaluation.annotation import AnnotatorProtocol
from evaluation.protocol import Summary
from evaluation.run import score_objects
from evaluation.segmenters import PredictorSegmenter
from networks.engines import TorchEngine
from predictor import Predictor
from training.config import TrainingConfig

CLICKS = 4


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
    protocol = AnnotatorProtocol(threshold=config.threshold, clicks=CLICKS)
    scores = score_objects(PredictorSegmenter(predictor), objects, protocol)
    summary = Summary.of(list(scores))
    return {
        "iou": summary.ious[0],
        "share_over_85": summary.good,
        "iou_clicks": summary.ious[-1],
    }
