"""What a simulated annotator gets: a box, a click inside, then corrections one by one."""

from __future__ import annotations

from typing import Any

from dataloaders.annotator import next_click
from dataloaders.geometry import PointXY
from dataloaders.guidance import PixelXY, most_interior_point
from dataloaders.samples import Sample
from evaluation.scores import iou
from predictor import Predictor, Prompt


def click_curve(
    predictor: Predictor[Any], sample: Sample, *, corrections: int, threshold: float
) -> list[float]:
    """IoU after the first click on ``sample`` and after each of ``corrections`` further clicks.

    The box is the object's tight box, the first click its most interior pixel; every further
    click goes to the most interior pixel of the largest error.
    """
    truth, void = sample.mask, sample.void
    first = most_interior_point(truth)
    assert first is not None
    positive, negative = [_centre(first)], list[PointXY]()
    scores: list[float] = []
    for _ in range(corrections + 1):
        prompt = Prompt(sample.tight_box(), tuple(positive), tuple(negative))
        key = (sample.image_id, sample.object_index)
        found = predictor.predict(sample.image, prompt, image_key=key)
        mask = found.crop.paste(found.probability, (truth.shape[0], truth.shape[1])) > threshold
        scores.append(iou(mask, truth, void))
        click = next_click(mask, truth, void)
        if click is None:
            break
        (positive if click.positive else negative).append(_centre(click.xy))
    return scores + scores[-1:] * (corrections + 1 - len(scores))


def _centre(pixel: PixelXY) -> PointXY:
    return pixel[0] + 0.5, pixel[1] + 0.5
