"""FiftyOne: a model for ``apply_model`` that makes masks of the boxes in a field.

    model = IogModel("iog-lite")
    dataset.apply_model(model, label_field="masks", prompt_field="ground_truth")

FiftyOne's App reports its use to FiftyOne's makers. Set ``FIFTYONE_DO_NOT_TRACK=true`` before
anything imports ``fiftyone``, so that it does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iog.masks import Mask
from iog.predictor import Predictor, load

try:
    import fiftyone.core.labels as fol
    import fiftyone.core.models as fom
except ImportError as error:
    raise ImportError(
        "FiftyOne is missing: install it with `pip install fiftyone==1.22.1`, in an environment of "
        "its own (docs/python.md says how)."
    ) from error

__all__ = ["IogModel"]

# In pixels: far more than a division loses, and far less than anybody sees.
_HAIR = 1e-6

_NO_PROMPTS = (
    "There are no boxes to start from: call apply_model with prompt_field=, the name of a field "
    "of Detections."
)


class IogModel(fom.SamplesMixin, fom.Model):  # type: ignore[misc]  # mypy does not read fiftyone
    """Masks of the boxes that a field of each sample holds.

    Each ``Detection`` of the answer has the tight box of its mask, the mask's pixels, the mask's
    score as ``confidence``, and the label and index of the ``Detection`` whose box it was made of.
    A box whose mask is empty gets none.

    Args:
        model: a name from ``iog weights list``, the path of weights, or what ``iog.load`` gave.
        threshold: probability above which a pixel is object. Default: the model's. What
            ``iog.load`` gave has one already.
        largest: keep so many of the largest components of each mask.
        fill_holes: fill holes of at most so many pixels.

    Attributes:
        needs_fields: ``{"prompt_field": NAME}``, which ``apply_model(prompt_field=NAME)`` sets.
        predictor: what makes the masks.

    Raises:
        SettingsError, WeightsError: see ``iog.load``.
        ValueError: an argument is out of its range, or there is a threshold twice.
    """

    media_type = "image"
    # FiftyOne asks for these: nothing is done to an image before `predict` gets it.
    ragged_batches = False
    transforms = None
    preprocess = False
    # FiftyOne asks it for settings of its own, which this model lacks.
    config = None

    def __init__(
        self,
        model: str | Path | Predictor[Any] = "iog-lite",
        *,
        threshold: float | None = None,
        largest: int | None = None,
        fill_holes: float | None = None,
    ) -> None:
        super().__init__()
        # Refused here, for FiftyOne makes warnings of what `predict` raises.
        Mask.from_array([[1]]).cleaned(largest=largest, fill_holes=fill_holes)
        if not isinstance(model, Predictor):
            # Every image comes once, so nothing of it is worth keeping.
            model = load(model, threshold=threshold, cache_mb=0)
        elif threshold is not None:
            raise ValueError("The predictor has a threshold: give yours to iog.load.")
        self.predictor = model
        self._cleaning: dict[str, Any] = {"largest": largest, "fill_holes": fill_holes}

    def __enter__(self) -> IogModel:
        """What FiftyOne calls before the first sample.

        Raises:
            ValueError: nobody has said in which field the boxes are.
        """
        self._prompt_field()
        return self

    def predict(self, arg: NDArray[np.uint8], sample: Any = None) -> Any:  # noqa: ANN401
        """The masks of one sample's boxes.

        Args:
            arg: the image, uint8 RGB [H, W, 3].
            sample: has the boxes, a ``Detections``, in the field that ``needs_fields`` names.

        Returns:
            ``Detections``, in the order of the boxes; of none where the field is empty.

        Raises:
            UnusableRequest: a box has no area or lies outside the image.
            TypeError: the field holds something else.
            ValueError: there is no sample, nobody has said in which field the boxes are, or the
                image is something else.
        """
        field = self._prompt_field()
        if sample is None:
            raise ValueError(_NO_PROMPTS)
        found = sample[field]
        if found is None:
            return fol.Detections()
        if not isinstance(found, fol.Detections):
            raise TypeError(f"{field!r} holds a {type(found).__name__}, not Detections.")
        height, width = arg.shape[:2]
        boxes = [
            (x * width, y * height, (x + w) * width, (y + h) * height)
            for x, y, w, h in (each.bounding_box for each in found.detections)
        ]
        # FiftyOne's images are views of others, with the colours in reverse.
        self.predictor.set_image(np.ascontiguousarray(arg))
        try:
            masks = self.predictor.predict_boxes(boxes, **self._cleaning)
        finally:
            self.predictor.reset_image()
        pairs = zip(masks, found.detections, strict=True)
        return fol.Detections(
            detections=[_detection(mask, source) for mask, source in pairs if mask.area]
        )

    def _prompt_field(self) -> str:
        field = self.needs_fields.get("prompt_field")
        if not field:
            raise ValueError(_NO_PROMPTS)
        return str(field)


def _detection(mask: Mask, source: Any) -> Any:  # noqa: ANN401
    """A mask as FiftyOne holds it: a box in fractions of the image, and the pixels inside it."""
    height, width = mask.size
    x0, y0, x1, y1 = mask.region
    (left, across), (top, down) = _fractions(x0, x1, width), _fractions(y0, y1, height)
    return fol.Detection(
        label=source.label,
        bounding_box=[left, top, across, down],
        mask=mask.pixels.view(np.bool_),
        confidence=mask.score,
        index=source.index,
    )


def _fractions(start: int, stop: int, length: int) -> tuple[float, float]:
    """Start and extent of whole pixels, in fractions of a side of the image.

    FiftyOne rounds down when it makes pixels of them again, and what is left of a division might be
    a pixel less. It would then resize the mask.
    """
    first = (start + _HAIR) / length if start else 0.0
    last = (stop + _HAIR) / length if stop < length else 1.0
    return first, last - first
