"""The annotator's protocol: how good is the mask after each click, and how many are needed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from dataloaders.augmentation import jitter_box
from dataloaders.geometry import Box, clamp_box
from dataloaders.samples import Sample
from iog.evaluation.clicks import Step, annotate, first_prompt
from iog.evaluation.protocol import ObjectScore
from iog.evaluation.scores import boundary_f, iou
from iog.evaluation.segmenters import Segmenter
from iog.prompts import Prompt

__all__ = ["JITTERS", "MOST_CLICKS", "TARGETS", "AnnotatorProtocol"]

MOST_CLICKS = 20
"""An object that needs more counts as this many."""
TARGETS = (85, 90)
"""IoUs, in percent, that clicks are counted to."""
JITTERS = (2, 5, 10)
"""Errors of the box's sides, in percent of its width or height."""


@dataclass(frozen=True)
class AnnotatorProtocol:
    """A box and a click inside, then clicks on the largest error.

    The further scores of an object: ``boundary_f`` after the first click; with ``count_clicks``
    ``noc_85`` and ``noc_90``, the clicks until the IoU reached 0.85 and 0.90, the first one
    included; with ``vary_box`` ``box_only``, the IoU without any click, and ``jitter_2``,
    ``jitter_5`` and ``jitter_10``, the IoU after the first click on a box whose four sides are
    each off by a normal error with a standard deviation of that percentage of the box's width or
    height.
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
    """Also score the box alone and boxes drawn carelessly: four more predictions per object."""
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
        first, ious, times = self._click(segmenter, sample, prompt)
        figures = {"boundary_f": boundary_f(first.mask, sample.mask, sample.void)}
        if self.count_clicks:
            figures |= {f"noc_{target}": _clicks_to(target / 100, ious) for target in TARGETS}
        if self.vary_box:
            figures |= self._other_boxes(segmenter, sample, prompt)
        return ObjectScore(
            image_id=sample.image_id,
            object_index=sample.object_index,
            category=sample.category,
            subset=sample.subset,
            ious=tuple((ious + ious[-1:] * self.clicks)[: self.clicks]),
            area=int(np.count_nonzero(sample.mask)),
            figures=figures,
            first_ms=times[0],
            next_ms=tuple(times[1 : self.clicks]),
        )

    def _click(
        self, segmenter: Segmenter, sample: Sample, prompt: Prompt
    ) -> tuple[Step, list[float], list[float]]:
        """The first step, and the IoU and time of every step."""
        most = max(self.clicks, MOST_CLICKS) if self.count_clicks else self.clicks
        steps = annotate(segmenter, sample, prompt, threshold=self.threshold)
        first = next(steps)
        ious, times = [first.iou], [first.milliseconds]
        while len(ious) < most and not (
            len(ious) >= self.clicks and max(ious) >= max(TARGETS) / 100
        ):
            step = next(steps, None)
            if step is None:
                break
            ious.append(step.iou)
            times.append(step.milliseconds)
        return first, ious, times

    def _other_boxes(
        self, segmenter: Segmenter, sample: Sample, prompt: Prompt
    ) -> dict[str, float]:
        rng = self._rng(sample)
        prompts = {"box_only": Prompt(prompt.box)}
        for percent in JITTERS:
            box = _moved(sample, rng, percent=percent)
            prompts[f"jitter_{percent}"] = Prompt(box, prompt.pos_points)
        key = (sample.image_id, sample.object_index)
        return {
            name: iou(
                segmenter.predict(sample.image, other, image_key=key) > self.threshold,
                sample.mask,
                sample.void,
            )
            for name, other in prompts.items()
        }

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
        box = jitter_box(tight, rng, share=percent / 100)
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
