"""The annotator's protocol and the official one: which prompts an object gets, and its scores."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.annotator import next_click
from dataloaders.augmentation import jitter_box
from dataloaders.damage import dilated, eroded, shifted, side_of
from dataloaders.geometry import Box, Crop, CropRule, Point, clamp_box
from dataloaders.guidance import PixelXY, most_interior_point
from dataloaders.samples import Sample
from iog.evaluation.scores import ObjectScore, boundary_f, iou
from iog.evaluation.segmenters import Corrector, Segmenter
from iog.prompts import Prompt

__all__ = [
    "BOX_ONLY_JITTER",
    "DAMAGE",
    "DAMAGES",
    "JITTERS",
    "MOST_CLICKS",
    "TARGETS",
    "THRESHOLDS",
    "AnnotatorProtocol",
    "OfficialProtocol",
    "Scorer",
    "Step",
    "annotate",
    "first_prompt",
    "stretched",
    "threshold_ious",
]

MOST_CLICKS = 20
"""An object that needs more counts as this many."""
TARGETS = (85, 90)
"""IoUs, in percent, that clicks are counted to."""
JITTERS = (2, 5, 10)
"""Errors of the box's sides, in percent of its width or height."""
BOX_ONLY_JITTER = 5
"""The one of these at which the box alone is scored too."""
DAMAGES = ("eroded", "dilated", "shifted")
"""What happens to a true mask before it is given as ``mask_input``."""
DAMAGE = 0.1
"""By how much, as a fraction of the mask's side."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Scorer(Protocol):
    """A protocol: how one object is scored."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the IoUs belong to, in order."""

    def prompt(self, sample: Sample) -> Prompt:
        """The box and the first click for an object."""

    def score(self, segmenter: Segmenter, sample: Sample) -> ObjectScore:
        """Score one object."""


@dataclass(frozen=True)
class Step:
    """What one click gave."""

    prompt: Prompt
    mask: NDArray[np.bool_]
    """[H, W], image frame."""
    iou: float
    milliseconds: float
    """From the prompt to the mask in the image frame."""


def first_prompt(sample: Sample, *, box: Box | None = None) -> Prompt:
    """A box, the tight one unless given, and a click on the object's most interior pixel."""
    first = most_interior_point(sample.mask)
    assert first is not None, f"{sample.image_id} object {sample.object_index} has no pixels"
    return Prompt(sample.tight_box() if box is None else box, (_centre(first),))


def annotate(
    segmenter: Segmenter, sample: Sample, prompt: Prompt, *, threshold: float
) -> Iterator[Step]:
    """Click on the largest error of each mask, beginning with ``prompt``, until there is none.

    Args:
        segmenter: answers every prompt.
        sample: the object; errors in its void are not corrected.
        prompt: the box and the first click.
        threshold: probability above which a pixel is object.
    """
    key = (sample.image_id, sample.object_index)
    positive, negative = list(prompt.pos_points), list(prompt.neg_points)
    while True:
        prompt = Prompt(prompt.box, tuple(positive), tuple(negative))
        start = time.perf_counter()
        mask = segmenter.predict(sample.image, prompt, image_key=key) > threshold
        spent = (time.perf_counter() - start) * 1e3
        yield Step(prompt, mask, iou(mask, sample.mask, sample.void), spent)
        click = next_click(mask, sample.mask, sample.void)
        if click is None:
            return
        (positive if click.positive else negative).append(_centre(click.xy))


def _centre(pixel: PixelXY) -> Point:
    return pixel[0] + 0.5, pixel[1] + 0.5


@dataclass(frozen=True)
class AnnotatorProtocol:
    """A box and a click inside, then clicks on the largest error.

    The further scores of an object: ``boundary_f`` after the first click; with ``count_clicks``
    ``noc_85`` and ``noc_90``, the clicks until the IoU reached 0.85 and 0.90, the first one
    included; with ``vary_box`` ``box_only``, the IoU without any click (``box_only_5``: on a box
    with an error of 5 per cent), and ``jitter_2``,
    ``jitter_5`` and ``jitter_10``, the IoU after the first click on a box whose four sides are
    each off by a normal error with a standard deviation of that percentage of the box's width or
    height; with ``mask_input`` for the true mask eroded, dilated and shifted by ``DAMAGE`` of its
    side ``eroded_before`` and ``eroded_after``, the IoU before and after a click on the largest
    error, ``eroded_rises``, 1 where it rose, and so on, and ``rises``, the mean over all three.
    """

    threshold: float
    """Probability above which a pixel is object."""
    clicks: int = 4
    """Clicks per object, the first one included."""
    jitter_px: float = 0.0
    """Standard deviation of the error of each of the box's sides, in pixels."""
    count_clicks: bool = False
    """Also click on, up to ``MOST_CLICKS``, until every target is reached."""
    vary_box: bool = False
    """Also score the box alone and boxes drawn carelessly: five more predictions per object."""
    mask_input: bool = False
    """Also correct damaged masks: three more predictions per object. Baselines cannot."""
    seed: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """``1 click``, ``2 clicks`` and so on."""
        return ("1 click", *(f"{n} clicks" for n in range(2, self.clicks + 1)))

    def prompt(self, sample: Sample) -> Prompt:
        """The box and the first click."""
        if not self.jitter_px:
            return first_prompt(sample)
        return first_prompt(sample, box=_moved(sample, self._rng(sample), pixels=self.jitter_px))

    def score(self, segmenter: Segmenter, sample: Sample) -> ObjectScore:
        """Score one object."""
        prompt = self.prompt(sample)
        steps = self._steps(segmenter, sample, prompt)
        ious = [step.iou for step in steps]
        times = [step.milliseconds for step in steps]
        figures = {"boundary_f": boundary_f(steps[0].mask, sample.mask, sample.void)}
        if self.count_clicks:
            figures |= {f"noc_{target}": _clicks_to(target / 100, ious) for target in TARGETS}
        if self.vary_box:
            figures |= self._other_boxes(segmenter, sample, prompt)
        if self.mask_input and isinstance(segmenter, Corrector):
            figures |= self._corrected(segmenter, sample)
        return ObjectScore.of(
            sample,
            (ious + ious[-1:] * self.clicks)[: self.clicks],
            figures=figures,
            first_ms=times[0],
            next_ms=tuple(times[1 : self.clicks]),
        )

    def _steps(self, segmenter: Segmenter, sample: Sample, prompt: Prompt) -> list[Step]:
        """The object's clicks; with ``count_clicks`` until every target is reached."""
        most = max(self.clicks, MOST_CLICKS) if self.count_clicks else self.clicks
        steps: list[Step] = []
        for step in islice(annotate(segmenter, sample, prompt, threshold=self.threshold), most):
            steps.append(step)
            reached = max(each.iou for each in steps) >= max(TARGETS) / 100
            if reached and len(steps) >= self.clicks:
                break
        return steps

    def _other_boxes(
        self, segmenter: Segmenter, sample: Sample, prompt: Prompt
    ) -> dict[str, float]:
        rng = self._rng(sample)
        prompts = {"box_only": Prompt(prompt.box)}
        for percent in JITTERS:
            box = _moved(sample, rng, percent=percent)
            prompts[f"jitter_{percent}"] = Prompt(box, prompt.pos_points)
        careless = prompts[f"jitter_{BOX_ONLY_JITTER}"].box
        prompts[f"box_only_{BOX_ONLY_JITTER}"] = Prompt(careless)
        key = (sample.image_id, sample.object_index)
        return {
            name: iou(
                segmenter.predict(sample.image, other, image_key=key) > self.threshold,
                sample.mask,
                sample.void,
            )
            for name, other in prompts.items()
        }

    def _corrected(self, segmenter: Corrector, sample: Sample) -> dict[str, float]:
        """What a click makes of the true mask with errors; without those that leave nothing."""
        found, rises = dict[str, float](), list[float]()
        key = (sample.image_id, sample.object_index)
        for kind, mask in self._damaged(sample).items():
            click = next_click(mask, sample.mask, sample.void)
            if click is None or not mask.any():
                continue
            before = iou(mask, sample.mask, sample.void)
            point = _centre(click.xy)
            better = segmenter.correct(sample.image, mask, point, click.positive, image_key=key)
            after = iou(better, sample.mask, sample.void)
            rises.append(float(after > before))
            found |= {
                f"{kind}_before": before,
                f"{kind}_after": after,
                f"{kind}_rises": rises[-1],
            }
        return {**found, "rises": float(np.mean(rises))} if rises else {}

    def _damaged(self, sample: Sample) -> dict[str, NDArray[np.bool_]]:
        reach = DAMAGE * side_of(sample.mask)
        angle = self._rng(sample).uniform(0, 2 * math.pi)
        offset = round(reach * math.cos(angle)), round(reach * math.sin(angle))
        masks = (
            eroded(sample.mask, reach),
            dilated(sample.mask, reach),
            shifted(sample.mask, *offset),
        )
        return dict(zip(DAMAGES, masks, strict=True))

    def _rng(self, sample: Sample) -> np.random.Generator:
        """The object's own, so that its score does not depend on which others are scored."""
        name = zlib.crc32(sample.image_id.encode())
        return np.random.default_rng((self.seed, name, sample.object_index))


def _moved(
    sample: Sample, rng: np.random.Generator, *, pixels: float = 0.0, percent: float = 0.0
) -> Box:
    """The tight box with an error on each side, clamped to the image as in serving."""
    tight = sample.tight_box()
    if percent:
        box = jitter_box(tight, rng, fraction=percent / 100)
    else:
        x1, y1, x2, y2 = (v + pixels * rng.standard_normal() for v in tight)
        (x1, x2), (y1, y2) = sorted((x1, x2)), sorted((y1, y2))
        box = (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))
    height, width = sample.mask.shape
    return clamp_box(box, (height, width)) or tight


def _clicks_to(target: float, ious: list[float]) -> int:
    """Clicks until the IoU first reached ``target``; an object that never does counts as most."""
    reached = (number for number, value in enumerate(ious, start=1) if value >= target)
    return min(next(reached, MOST_CLICKS), MOST_CLICKS)


@dataclass(frozen=True)
class OfficialProtocol:
    """The tight box and one click; the pasted probability above each threshold, void left out."""

    rule: CropRule
    """The model's: the click is the most interior pixel of the object in the network frame."""
    legacy_stretch: bool = False
    """Compare the grey levels of the saved image instead of the probabilities."""
    masks: Path | None = None
    """Folder for ``<image>-<object>.png``, the stretched probability."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The thresholds."""
        return tuple(map(str, THRESHOLDS))

    def score(self, segmenter: Segmenter, sample: Sample) -> ObjectScore:
        """Score one object."""
        prompt = self.prompt(sample)
        key = (sample.image_id, sample.object_index)
        probability = segmenter.predict(sample.image, prompt, image_key=key)
        if self.masks is not None:
            name = f"{sample.image_id}-{sample.object_index}.png"
            _write(self.masks / name, stretched(probability))
        ious = threshold_ious(probability, sample, legacy_stretch=self.legacy_stretch)
        return ObjectScore.of(sample, ious)

    def prompt(self, sample: Sample) -> Prompt:
        """The tight box, and the click that training used: found in the network frame."""
        crop = Crop.around(sample.tight_box(), self.rule)
        pixel = most_interior_point(crop.extract(sample.mask.astype(np.uint8)) > 0.5)
        if pixel is None:  # too small to be seen in the network frame
            return first_prompt(sample)
        return Prompt(sample.tight_box(), (crop.to_image((pixel[0] + 0.5, pixel[1] + 0.5)),))


def threshold_ious(
    probability: NDArray[np.float32], sample: Sample, *, legacy_stretch: bool
) -> tuple[float, ...]:
    """IoU of a pasted probability, float32 [H, W], above each of ``THRESHOLDS``."""
    values = stretched(probability) / 255 if legacy_stretch else probability
    return tuple(iou(values > t, sample.mask, sample.void) for t in THRESHOLDS)


def stretched(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels 0..255 from the lowest to the highest probability, as the official code saves.

    The bicubic resize leaves 0..1 slightly, so these differ from the probabilities most at the
    ends of the scale. A constant map is black.
    """
    values = probability.astype(np.float64)
    low, high = values.min(), values.max()
    scale = 255.0 / (high - low) if high > low else 255.0
    grey: NDArray[np.uint8] = ((values - low) * scale + 0.5).astype(np.uint8)
    return grey


def _write(path: Path, grey: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", grey)
    path.write_bytes(data.tobytes())
