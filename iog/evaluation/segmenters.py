"""What is scored: a model, or a baseline that a model has to beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, CropRule, Point, clamp_box
from iog.image import Image
from iog.models.files import sha256_of
from iog.models.spec import resolve
from iog.predictor import Predictor, load
from iog.prompts import Prompt
from iog.settings import Settings, available_cores

__all__ = [
    "BASELINES",
    "Baseline",
    "Candidate",
    "Corrector",
    "PredictorSegmenter",
    "Segmenter",
    "candidate",
]

ITERATIONS = 5
CLICK_RADIUS = 3
"""Pixels around a click that GrabCut takes as certain."""


class Segmenter(Protocol):
    """A model or a baseline."""

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Segment the object that the prompt means.

        Args:
            image: uint8 [H, W, 3], RGB.
            prompt: the box and all clicks so far, image frame.
            image_key: identifies the image's content, so that work on it may be kept.

        Returns:
            float32 [H, W], probability, image frame; a bicubic resize may leave 0..1 slightly.
        """


@runtime_checkable
class Corrector(Protocol):
    """A model that starts from a mask."""

    def correct(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        point: Point,
        positive: bool,
        *,
        image_key: Hashable = None,
    ) -> NDArray[np.bool_]:
        """The mask [H, W] after a click on it; ``positive`` says whether on the object."""


class PredictorSegmenter:
    """A network: its prediction is brought back into the image, as in serving."""

    def __init__(self, predictor: Predictor[Any]) -> None:
        self._predictor = predictor

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability float32 [H, W], image frame; see ``Segmenter``."""
        self._predictor.set_image(Image(image, key=image_key))
        return self._predictor.probability(prompt)

    def correct(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        point: Point,
        positive: bool,
        *,
        image_key: Hashable = None,
    ) -> NDArray[np.bool_]:
        """The mask [H, W] after a click; see ``Corrector``."""
        self._predictor.set_image(Image(image, key=image_key))
        found = self._predictor.predict(
            mask_input=mask, point_coords=[point], point_labels=[int(positive)]
        )
        return found.array


@dataclass(frozen=True)
class Baseline:
    """What a model has to beat: a mask [H, W] from the image and the prompt."""

    segment: Callable[[NDArray[np.uint8], Prompt], NDArray[np.bool_]]

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        """Probability 0 or 1, float32 [H, W]; see ``Segmenter``."""
        return self.segment(image, prompt).astype(np.float32)


def _full_box(image: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.bool_]:
    """The box, filled; clicks change nothing."""
    out = np.zeros(image.shape[:2], np.bool_)
    x0, y0, x1, y1 = _pixels(prompt.box, image)
    out[y0:y1, x0:x1] = True
    return out


def _inscribed_ellipse(image: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.bool_]:
    """The ellipse that touches the box's four sides; clicks change nothing."""
    x1, y1, x2, y2 = prompt.box
    rows, columns = (np.arange(length) + 0.5 for length in image.shape[:2])
    across = ((2 * columns - x1 - x2) / (x2 - x1)) ** 2
    down = ((2 * rows - y1 - y2) / (y2 - y1)) ** 2
    return np.asarray(across[None, :] + down[:, None] <= 1, np.bool_)


def _grabcut(image: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.bool_]:
    """OpenCV's GrabCut (Rother et al., SIGGRAPH 2004) with the box and the clicks.

    Outside the box is certain background, inside it probable object, and a small disc around each
    click is certain. Where that leaves no background, or the cut keeps nothing, the box is the
    answer.
    """
    labels = np.where(_full_box(image, prompt), cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    for points, label in ((prompt.pos_points, cv2.GC_FGD), (prompt.neg_points, cv2.GC_BGD)):
        for x, y in points:
            cv2.circle(labels, (math.floor(x), math.floor(y)), CLICK_RADIUS, label, cv2.FILLED)
    object_ = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if object_.all() or not object_.any():
        return object_
    cv2.setRNGSeed(0)  # its clusters begin at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, labels, (0, 0, 1, 1), *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return found if found.any() else object_


def _pixels(box: Box, image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The whole pixels that the box covers, clamped to the image; x1 and y1 exclusive."""
    visible = clamp_box(box, (image.shape[0], image.shape[1]))
    if visible is None:
        return 0, 0, 0, 0
    x1, y1, x2, y2 = visible
    return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)


BASELINES: dict[str, Segmenter] = {
    "box": Baseline(_full_box),
    "ellipse": Baseline(_inscribed_ellipse),
    "grabcut": Baseline(_grabcut),
}
"""By the name that `iog evaluate --model` takes."""


@dataclass(frozen=True)
class Candidate:
    """Something to score."""

    name: str
    """For tables and folders; of a path, the file's name without its ending."""
    description: Mapping[str, object]
    """What runs, for reports. Scores of different descriptions are not mixed."""
    segmenter: Segmenter
    threshold: float
    """Probability above which a pixel is object."""
    rule: CropRule
    """How the model crops; baselines do not, and have the published one."""


def candidate(settings: Settings) -> Candidate:
    """Load what ``settings.model`` names: a baseline, a model, or a path.

    Raises:
        SettingsError, WeightsError: see ``iog.load``.
    """
    name = settings.model
    if name in BASELINES:
        description = {"model": name, "threshold": 0.5}
        return Candidate(name, description, BASELINES[name], 0.5, CropRule())
    threads = settings.threads or available_cores()
    cv2.setNumThreads(threads)
    predictor = load(
        name,
        engine=settings.engine,
        precision=settings.precision,
        device=settings.device,
        threads=threads,
        threshold=settings.threshold,
        weights_dir=settings.weights_dir,
        sha256=settings.weights_sha256,
        cache_mb=settings.cache_mb,
    )
    segmenter = PredictorSegmenter(predictor)
    # The first run takes longer, and is nobody's click.
    segmenter.predict(np.zeros((64, 64, 3), np.uint8), Prompt((8, 8, 56, 56), ((32, 32),)))
    predictor.reset_image()
    predictor.cache.clear()
    path = resolve(name, weights_dir=settings.weights_dir).file
    return Candidate(
        name=str(predictor.describe()["model"]),
        description={**predictor.describe(), "sha256": sha256_of(path)},
        segmenter=segmenter,
        threshold=predictor.threshold,
        rule=predictor.rule,
    )
