"""The model behind the function: settings become a predictor, a checked request becomes masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dataloaders.geometry import Box, Point
from iog.image import Image, ImageLike
from iog.masks import Mask
from iog.predictor import load
from iog.settings import Settings, available_cores

__all__ = ["ModelHandler"]


class ModelHandler:
    """One worker's model.

    Args:
        settings: model, engine, precision, device, threads, threshold, cache size.

    Attributes:
        predictor: what runs the model.
        timings: milliseconds of the last ``predict``: ``open`` (the image file), ``network`` (crop,
            guidance, network) and ``paste`` (back to the image).

    Raises:
        SettingsError: the engine, device or precision is not to be had here.
        WeightsError: the weights are missing or unusable.
    """

    def __init__(self, settings: Settings) -> None:
        self._threads = settings.threads or available_cores()
        cv2.setNumThreads(self._threads)
        self.predictor = load(
            settings.model,
            engine=settings.engine,
            precision=settings.precision,
            device=settings.device,
            threads=self._threads,
            threshold=settings.threshold,
            weights_dir=settings.weights_dir,
            sha256=settings.weights_sha256,
            cache_mb=settings.cache_mb,
            max_pixels=settings.max_pixels,
        )
        self.timings: dict[str, float] = {}

    def describe(self) -> dict[str, object]:
        """What runs here, for the log line at the start."""
        return {**self.predictor.describe(), "threads": self._threads}

    def cache_stats(self) -> dict[str, tuple[int, int]]:
        """Hits and misses so far: image files known, pixels, windows, crops, inside points."""
        return self.predictor.cache.stats()

    def forget(self) -> None:
        """Empty the cache, so that the next click is a first one."""
        self.predictor.cache.clear()

    def warm_up(self) -> None:
        """Run the network once, so that the first request does not pay for first-time work."""
        side = 64
        image = self.open(np.zeros((side, side, 3), np.uint8))
        self.predict(image, boxes=[(8, 8, 56, 56)], pos_points=[(32, 32)])
        self.forget()

    def open(self, source: ImageLike) -> Image:
        """Open an image, for ``predict``; see ``iog.Image``.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        """
        predictor = self.predictor
        return Image(source, cache=predictor.cache, max_pixels=predictor.max_pixels)

    def predict(
        self,
        image: Image,
        *,
        boxes: Sequence[Box],
        pos_points: Sequence[Point] = (),
        neg_points: Sequence[Point] = (),
        threshold: float | None = None,
        largest: int | None = None,
        fill_holes: float | None = None,
    ) -> list[Mask]:
        """The mask of the object in each box, in order.

        Args:
            image: from ``open``.
            boxes: x1, y1, x2, y2, image frame; clamped to the image.
            pos_points: clicks on the object; clamped to the image.
            neg_points: clicks on the background. With several boxes every click goes to the box it
                lies in, or to the nearest.
            threshold, largest, fill_holes: see ``iog.Predictor.predict``.

        Raises:
            UnusableRequest: a box lies outside the image.
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        """
        predictor = self.predictor
        predictor.set_image(image)
        try:
            return predictor.predict_boxes(
                boxes,
                [*pos_points, *neg_points],
                [1] * len(pos_points) + [0] * len(neg_points),
                threshold=threshold,
                largest=largest,
                fill_holes=fill_holes,
            )
        finally:
            predictor.reset_image()  # which holds the file's bytes
            self.timings = {"open": image.open_ms, **predictor.timings}
