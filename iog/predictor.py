"""From one box and its clicks to a probability map: crop, guidance, network.

This is the whole of IOG's interaction, free of requests, files and settings; serving, evaluation
and training's validation all go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import BoxXYXY, Crop, CropRule, PointXY
from dataloaders.guidance import PixelXY, add_clicks, guidance_maps, most_interior_point
from iog.cache import ByteCache, Shelf
from iog.engines.engine import Encoded, Engine

Window = Callable[[Crop], NDArray[np.float32]]
"""What gives a crop's window into an image, as ``Crop.extract`` does."""

_POINT_BYTES = 256
"""About what a point and its key take."""


@dataclass(frozen=True)
class Prompt:
    """What an annotator says about one object, image frame."""

    box: BoxXYXY
    pos_points: tuple[PointXY, ...] = ()
    neg_points: tuple[PointXY, ...] = ()


@dataclass(frozen=True)
class ObjectProbability:
    """A prediction in the network frame, with the way back to the image."""

    probability: NDArray[np.float32]  # [S, S], 0..1
    crop: Crop


class Predictor(Generic[Encoded]):
    """Predicts one object at a time.

    Args:
        engine: runs the network.
        rule: how the network's weights want their input.
        threshold: probability above which a pixel is object, for the two-pass box prediction.
        cache: keeps windows (shelf ``window``), encoded crops (``crop``) and the inside points of
            boxes without a click (``interior``), for the next click on the same box.
    """

    def __init__(
        self,
        engine: Engine[Encoded],
        rule: CropRule,
        *,
        threshold: float,
        cache: ByteCache | None = None,
    ) -> None:
        self._engine = engine
        self._rule = rule
        self._threshold = threshold
        if cache is None:
            cache = ByteCache(0)
        self._windows: Shelf[NDArray[np.float32]] = cache.shelf("window")
        self._crops: Shelf[Encoded] = cache.shelf("crop")
        self._interiors: Shelf[PixelXY] = cache.shelf("interior")

    @property
    def rule(self) -> CropRule:
        """How the network's weights want their input."""
        return self._rule

    def predict(
        self, image: NDArray[np.uint8] | Window, prompt: Prompt, *, image_key: Hashable = None
    ) -> ObjectProbability:
        """Predict the object in the box.

        The first positive click is the inside point. Without one it is the box's centre, and then,
        where that differs, the most interior pixel of the mask that the box alone gives: negative
        clicks correct the mask but do not move the point.

        Args:
            image: uint8 [H, W, 3], RGB, or what gives windows into it.
            prompt: the box and all clicks; clicks outside the crop are clamped to its edge.
            image_key: identifies the image's content for the cache; ``None`` bypasses it.
        """
        crop = Crop.around(prompt.box, self._rule)
        inside = [crop.pixel(p) for p in prompt.pos_points]
        outside = [crop.pixel(p) for p in prompt.neg_points]
        if inside:
            return ObjectProbability(self._run(image, crop, inside, outside, image_key), crop)
        x1, y1, x2, y2 = crop.box
        centre = crop.pixel(((x1 + x2) / 2, (y1 + y2) / 2))
        key = (image_key, crop)
        interior = None if image_key is None else self._interiors.get(key)
        if interior is None:
            probability = self._run(image, crop, [centre], [], image_key)
            interior = most_interior_point(probability > self._threshold) or centre
            if image_key is not None:
                self._interiors.put(key, interior, _POINT_BYTES)
            if interior == centre and not outside:
                return ObjectProbability(probability, crop)
        return ObjectProbability(self._run(image, crop, [interior], outside, image_key), crop)

    def _run(
        self,
        image: NDArray[np.uint8] | Window,
        crop: Crop,
        inside: Sequence[PixelXY],
        outside: Sequence[PixelXY],
        image_key: Hashable,
    ) -> NDArray[np.float32]:
        """One pass: network-frame clicks in, probability [S, S] out."""
        rule = self._rule
        corners = crop.outside_points()
        if self._engine.refines:
            first, later = inside[:1], (inside[1:], outside)
            key = (image_key, crop, tuple(first))
            maps = guidance_maps(first, corners, frame=rule.frame, fwhm=rule.fwhm)
            clicks = add_clicks(maps, *later, fwhm=rule.fwhm)
        else:
            key = (image_key, crop, (*inside, *outside))
            maps = guidance_maps(inside, (*corners, *outside), frame=rule.frame, fwhm=rule.fwhm)
            clicks = maps
        encoded = None if image_key is None else self._crops.get(key)
        if encoded is None:
            window = self._window(image, crop, image_key).transpose(2, 0, 1)
            encoded = self._engine.encode(np.concatenate([window, maps]))
            if image_key is not None:
                self._crops.put(key, encoded, self._engine.nbytes(encoded))
        return self._engine.decode(encoded, clicks)

    def _window(
        self, image: NDArray[np.uint8] | Window, crop: Crop, image_key: Hashable
    ) -> NDArray[np.float32]:
        """float32 [S, S, 3], which is all that a network ever sees of the image."""
        window = None if image_key is None else self._windows.get((image_key, crop))
        if window is None:
            window = crop.extract(image) if isinstance(image, np.ndarray) else image(crop)
            if image_key is not None:
                self._windows.put((image_key, crop), window, window.nbytes)
        return window
