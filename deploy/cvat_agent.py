"""IOG as an auto-annotation function for CVAT's agents: for CVAT Online, which calls no Nuclio.

    pip install -r requirements-agent.txt
    cvat-cli function create-native IOG --function-file deploy/cvat_agent.py
    cvat-cli function run-agent ID --function-file deploy/cvat_agent.py

docs/deploy.md says more. The settings are those of the function, such as ``IOG_MODEL``; the model
runs in the agent's own process. The protocol is that of ``cvat_sdk.auto_annotation``.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models

from dataloaders.geometry import Box, Point
from iog.errors import MalformedRequest, UnusableRequest
from iog.image import Image
from iog.masks import Mask
from iog.settings import Settings, unknown_variables

if TYPE_CHECKING:
    import PIL.Image

    from model_handler import ModelHandler

__all__ = ["InteractiveSegmentation", "create"]


class InteractiveSegmentation:
    """Segments the object in each box, from clicks or from the box alone.

    Args:
        settings: what would be the environment's.
    """

    spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=1)

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
    ) -> Image:
        """The picture as the network wants it, whatever its mode; CVAT has turned it upright."""
        return Image(image)

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: Image,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """The mask of each box's object as a shape, none where no pixel is above the threshold.

        A further click on the same box costs the network's last part only.

        Raises:
            MalformedRequest: a box has one corner only.
            UnusableRequest: there is no box, or one lies outside the image.
        """
        masks = self._model.predict(
            pp_image,
            boxes=_boxes(prompts.bounding_box or ()),
            pos_points=prompts.pos_points,
            neg_points=prompts.neg_points,
        )
        return [_shape(mask) for mask in masks if mask.area]


def _boxes(corners: Sequence[Point]) -> list[Box]:
    """Ordered boxes. The protocol promises one pair of corners, CVAT sends one for each box."""
    if not corners:
        raise UnusableRequest(
            "missing_box", "There is no box around the object.", hint="Draw a box first."
        )
    if len(corners) % 2:
        raise MalformedRequest(
            "invalid_box",
            f"Corners of boxes come in pairs; there are {len(corners)}.",
            hint="Draw the boxes again.",
        )
    pairs = zip(corners[::2], corners[1::2], strict=True)
    return [(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for (x1, y1), (x2, y2) in pairs]


def _shape(mask: Mask) -> cvataa.InteractionResultShape:
    confidence = models.AttributeValRequest(
        spec_id=cvataa.InteractionResultAttributes.CONFIDENCE, value=f"{mask.score:.4f}"
    )
    return cvataa.InteractionResultShape(
        type="mask", points=mask.cvat_runs(), attributes=[confidence]
    )


def create(model: str | None = None) -> InteractiveSegmentation:
    """What ``--function-file`` looks for.

    Args:
        model: a name or path of weights, ``-p model=str:NAME``; default ``IOG_MODEL``.

    Raises:
        SettingsError: an environment variable has an unusable value.
    """
    for sentence in unknown_variables():
        logging.getLogger(__name__).warning(sentence)
    settings = Settings.from_env()
    return InteractiveSegmentation(
        settings if model is None else dataclasses.replace(settings, model=model)
    )
