"""IOG as an auto-annotation function for CVAT's agents: for CVAT Online, which calls no Nuclio.

    pip install -r requirements-agent.txt
    cvat-cli function create-native IOG --function-file deploy/cvat_agent.py
    cvat-cli function run-agent ID --function-file deploy/cvat_agent.py

docs/deploy.md says more. The settings are those of the function, such as ``IOG_MODEL``; the model
runs in the agent's own process. The protocol is that of ``cvat_sdk.auto_annotation``.
"""

from __future__ import annotations

import dataclasses
import uuid
from functools import cached_property
from typing import TYPE_CHECKING

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models

from dataloaders.images import pillow_pixels
from dataloaders.masks import cvat_rle
from photos import Pixels
from settings import Settings

if TYPE_CHECKING:
    import PIL.Image

    from model_handler import ModelHandler

__all__ = ["InteractiveSegmentation", "create"]


class InteractiveSegmentation:
    """Segments the object in a box, from clicks on it and beside it.

    Args:
        settings: what would be the environment's.
    """

    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=1)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _model(self) -> ModelHandler:
        """Loaded by the process that uses it: the one that registers the function does not."""
        from model_handler import ModelHandler  # torch or OpenVINO: never at import

        model = ModelHandler(self._settings)
        model.warm_up()
        return model

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image
    ) -> Pixels:
        """The picture as the network wants it, whatever its mode; CVAT has turned it upright."""
        return Pixels(pillow_pixels(image), key=uuid.uuid4().hex)

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: Pixels,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """The object's mask as a shape, or nothing where no pixel is above the threshold.

        A further click on the same box costs the network's last part only.

        Raises:
            UnusableRequest: the box lies outside the image.
            ValueError: there is no box, which the agent does not let happen.
        """
        if prompts.bounding_box is None:
            raise ValueError("IOG needs a box around the object.")
        (x1, y1), (x2, y2) = prompts.bounding_box
        prediction = self._model.predict(
            pp_image,
            boxes=[(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))],
            pos_points=prompts.pos_points,
            neg_points=prompts.neg_points,
        )
        runs = cvat_rle(prediction.mask, bounds=prediction.bounds)
        if not runs:
            return []
        confidence = models.AttributeValRequest(
            spec_id=cvataa.InteractionResultAttributes.CONFIDENCE,
            value=f"{prediction.confidence:.4f}",
        )
        return [cvataa.InteractionResultShape(type="mask", points=runs, attributes=[confidence])]


def create(model: str | None = None) -> InteractiveSegmentation:
    """What ``--function-file`` looks for.

    Args:
        model: a name or path of weights, ``-p model=str:NAME``; default ``IOG_MODEL``.

    Raises:
        SettingsError: an environment variable has an unusable value.
    """
    settings = Settings.from_env()
    return InteractiveSegmentation(
        settings if model is None else dataclasses.replace(settings, model=model)
    )
