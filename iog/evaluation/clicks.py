"""What a simulated annotator gets: a box, a click inside, then corrections one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataloaders.annotator import next_click
from dataloaders.geometry import Box, Point
from dataloaders.guidance import PixelXY, most_interior_point
from dataloaders.samples import Sample
from iog.evaluation.scores import iou
from iog.evaluation.segmenters import Segmenter
from iog.prompts import Prompt

__all__ = ["Step", "annotate", "first_prompt"]


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
