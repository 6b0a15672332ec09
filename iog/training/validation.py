"""Scores on the validation split while training, with the same prediction as in serving."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dataloaders.samples import Dataset
from iog.cache import Cache
from iog.engines.torch_engine import TorchEngine
from iog.evaluation.protocols import AnnotatorProtocol
from iog.evaluation.run import score_objects
from iog.evaluation.scores import Summary
from iog.evaluation.segmenters import PredictorSegmenter
from iog.models.spec import own_spec
from iog.predictor import Predictor
from iog.training.config import TrainingConfig
from networks.fused import fuse

CLICKS = 4


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
