"""The official protocol: one object one sample, IoU at nine thresholds (IOG, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Crop, CropRule
from dataloaders.guidance import most_interior_point
from dataloaders.samples import Sample
from iog.evaluation.clicks import first_prompt
from iog.evaluation.protocol import ObjectScore
from iog.evaluation.scores import iou
from iog.evaluation.segmenters import Segmenter
from iog.prompts import Prompt

__all__ = ["THRESHOLDS", "OfficialProtocol", "stretched", "threshold_ious"]

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


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
            _write(
                self.masks / f"{sample.image_id}-{sample.object_index}.png", stretched(probability)
            )
        return ObjectScore(
            image_id=sample.image_id,
            object_index=sample.object_index,
            category=sample.category,
            subset=sample.subset,
            ious=threshold_ious(probability, sample, legacy_stretch=self.legacy_stretch),
            area=int(np.count_nonzero(sample.mask)),
        )

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
