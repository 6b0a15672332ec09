"""The model behind the function: settings become a predictor, a checked request becomes masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypedDict

import cv2
import numpy as np

from dataloaders.geometry import Box, Point
from iog.errors import MalformedRequest, TooManyPixels, UnknownImage
from iog.image import Image, ImageLike
from iog.masks import Mask
from iog.predictor import load
from iog.settings import Settings, available_cores

__all__ = ["ModelHandler"]


class _Options(TypedDict):
    threshold: float | None
    largest: int | None
    fill_holes: float | None


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
        """Hits and misses so far: files named by digest, image files known, pixels, and so on."""
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
        image = self._image(source)
        if isinstance(source, bytes):
            self._keep_file(image, source)
        return image

    def keep(self, data: bytes, sha256: str) -> Image:
        """Open an image file and keep it, for ``known``.

        Args:
            data: the file.
            sha256: its digest, lower case.

        Raises:
            MalformedRequest: the file has another digest.
            TooManyPixels: it has too many pixels, or is larger than the cache.
            NotAnImage: see ``iog.decoding.read_pixels``.
        """
        if hashlib.sha256(data).hexdigest() != sha256:
            raise MalformedRequest(
                "other_sha256",
                "The body has not the SHA-256 that the path names.",
                field="sha256",
                hint="Hash the very bytes that you send.",
            )
        image = self._image(data, key=sha256)
        if not self._keep_file(image, data):
            raise TooManyPixels(
                "not_kept",
                f"The file has {len(data)} bytes and does not fit in the cache.",
                hint="Send it as `image` with each request, or raise IOG_CACHE_MB.",
            )
        return image

    def known(self, sha256: str) -> Image:
        """An image that was opened or kept before and is still in the cache, not hashed again.

        Raises:
            UnknownImage: it is not.
        """
        data = self.predictor.cache.get("file", sha256)
        if data is None:
            raise UnknownImage
        return self._image(data, key=sha256)

    def _image(self, source: ImageLike, *, key: str | None = None) -> Image:
        predictor = self.predictor
        return Image(source, key=key, cache=predictor.cache, max_pixels=predictor.max_pixels)

    def _keep_file(self, image: Image, data: bytes) -> bool:
        return self.predictor.cache.keep("file", image.key, data, len(data))

    def predict(
        self,
        image: Image,
        *,
        boxes: Sequence[Box] = (),
        pos_points: Sequence[Point] = (),
        neg_points: Sequence[Point] = (),
        mask_input: Mask | None = None,
        threshold: float | None = None,
        largest: int | None = None,
        fill_holes: float | None = None,
    ) -> list[Mask]:
        """The mask of the object in each box, in order.

        Args:
            image: from ``open`` or ``known``.
            boxes: x1, y1, x2, y2, image frame; clamped to the image.
            pos_points: clicks on the object; clamped to the image.
            neg_points: clicks on the background. With several boxes every click goes to the box it
                lies in, or to the nearest.
            mask_input: the mask of one object to start from, with at most one box; see
                ``iog.Predictor.predict``.
            threshold, largest, fill_holes: see ``iog.Predictor.predict``.

        Raises:
            UnusableRequest: a box lies outside the image.
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        """
        predictor = self.predictor
        predictor.set_image(image)
        clicks = [*pos_points, *neg_points]
        labels = [1] * len(pos_points) + [0] * len(neg_points)
        options = _Options(threshold=threshold, largest=largest, fill_holes=fill_holes)
        try:
            if mask_input is None:
                return predictor.predict_boxes(boxes, clicks, labels, **options)
            (box,) = boxes or (None,)
            return [predictor.predict(box, clicks, labels, mask_input, **options)]
        finally:
            predictor.reset_image()  # which holds the file's bytes
            self.timings = {"open": image.open_ms, **predictor.timings}
