"""A model or a baseline by its name, ready to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataloaders.geometry import CropRule
from iog.evaluation.baselines import BASELINES
from iog.evaluation.segmenters import PredictorSegmenter, Segmenter
from iog.models.files import sha256_of
from iog.models.spec import resolve
from iog.settings import Settings
from model_handler import ModelHandler

__all__ = ["Contender", "contender"]


@dataclass(frozen=True)
class Contender:
    """Something to score."""

    name: str
    """For tables and folders: of a path, the file's name without its ending."""
    description: Mapping[str, object]
    """What runs, for reports; scores of different descriptions are not mixed."""
    segmenter: Segmenter
    threshold: float
    """Probability above which a pixel is object."""
    rule: CropRule
    """How the model crops; baselines do not, and have the published one."""


def contender(settings: Settings) -> Contender:
    """Load what ``iog.settings.model`` names: a baseline, a model of the table, or a path.

    Raises:
        SettingsError, WeightsError: see ``ModelHandler``.
    """
    name = settings.model
    if name in BASELINES:
        description = {"model": name, "threshold": 0.5}
        return Contender(name, description, BASELINES[name], 0.5, CropRule())
    handler = ModelHandler(settings)
    handler.warm_up()
    described = handler.describe()
    path = resolve(name, weights_dir=settings.weights_dir).path
    assert path is not None
    return Contender(
        name=str(described["model"]),
        description={**described, "sha256": sha256_of(path)},
        segmenter=PredictorSegmenter(handler.predictor),
        threshold=handler.predictor.threshold,
        rule=handler.predictor.rule,
    )
