"""The model behind the function: weights and engine chosen once, then prompts in, masks out."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import BoxXYXY, PointXY, SizeHW, clamp_box, clamp_point
from iog.cache import ByteCache
from iog.cores import available_cores
from iog.engines.choosing import start_engine
from iog.errors import UnusableRequest
from iog.image import Photo, Photos, Pixels
from iog.prediction import Canvas, Prediction
from iog.predictor import Predictor, Prompt
from iog.settings import Settings

__all__ = ["ModelHandler"]


class ModelHandler:
    """One worker's model.

    Args:
        settings: model, engine, precision, device, threads, threshold, cache size.

    Raises:
        SettingsError: the engine, device or precision is not to be had here.
        WeightsError: the weights are missing or unusable.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_pixels = settings.max_pixels
        self._precision = settings.precision
        self._threads = settings.threads or available_cores()
        cv2.setNumThreads(self._threads)
        self._running = start_engine(
            settings.model,
            weights_dir=settings.weights_dir,
            sha256=settings.weights_sha256,
            engine=settings.engine,
            precision=settings.precision,
            device=settings.device,
            threads=self._threads,
        )
        self._row = self._running.row
        self._threshold = self._row.threshold if settings.threshold is None else settings.threshold
        self._cache = ByteCache(settings.cache_mb * 2**20)
        self._photos = Photos(self._cache, max_pixels=settings.max_pixels)
        self.predictor = Predictor(
            self._running.engine, self._row.crop, threshold=self._threshold, cache=self._cache
        )
        """Predicts one object at a time, without the image-frame mask."""

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is object, unless a request says otherwise."""
        return self._threshold

    def describe(self) -> dict[str, object]:
        """What runs here, for the log line at the start."""
        return {
            "model": self._row.name,
            "architecture": self._row.architecture,
            "engine": self._running.name,
            "precision": self._precision,
            "device": self._running.device,
            "threads": self._threads,
            "threshold": self._threshold,
        }

    def lookups(self) -> dict[str, tuple[int, int]]:
        """Hits and misses so far: image files known, pixels, windows and encoded crops."""
        return self._cache.lookups()

    def forget(self) -> None:
        """Empty the cache, so that the next click is a first one."""
        self._cache.clear()

    def warm_up(self) -> None:
        """Run the network once, so that the first request does not pay for first-time work."""
        side = 64
        image = np.zeros((side, side, 3), np.uint8)
        self.predict(image, boxes=[(8, 8, 56, 56)], pos_points=[(32, 32)], neg_points=[])

    def open(self, data: bytes, image_key: str) -> Photo:
        """Open an image file, for `predict`.

        Args:
            data: the file's bytes.
            image_key: identifies them.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.decode``.
        """
        return self._photos.open(data, image_key)

    def predict(
        self,
        image: NDArray[np.uint8] | Photo | Pixels,
        *,
        boxes: Sequence[BoxXYXY],
        pos_points: Sequence[PointXY],
        neg_points: Sequence[PointXY],
        threshold: float | None = None,
    ) -> Prediction:
        """Predict the objects in the boxes and unite their masks.

        Args:
            image: from `open`; or pixels; or uint8 [H, W, 3], RGB, of which nothing is cached.
            boxes: x1, y1, x2, y2 with ordered corners, image frame; clamped to the image.
            pos_points: clicks on the object; clamped to the image.
            neg_points: clicks beside it. With several boxes every click goes to the box it lies
                in, or to the nearest.
            threshold: probability above which a pixel is object; default that of the weights.

        Raises:
            UnusableRequest: a box lies outside the image.
            NotAnImage, TooManyPixels: see ``iog.decoding.decode``.
        """
        photo = Pixels(image) if isinstance(image, np.ndarray) else image
        opened = photo.decode_ms
        canvas = Canvas(photo.size, self._threshold if threshold is None else threshold)
        network = paste = 0.0
        for prompt in _prompts(boxes, pos_points, neg_points, photo.size):
            start = time.perf_counter()
            found = self.predictor.predict(photo.window, prompt, image_key=photo.key)
            middle = time.perf_counter()
            canvas.add(found)
            network += (middle - start) * 1e3
            paste += (time.perf_counter() - middle) * 1e3
        network -= photo.decode_ms - opened
        return canvas.finish({"decode": photo.decode_ms, "network": network, "paste": paste})

    def predict_each(
        self,
        photo: Photo | Pixels,
        *,
        boxes: Sequence[BoxXYXY],
        pos_points: Sequence[PointXY],
        neg_points: Sequence[PointXY],
    ) -> list[Prediction]:
        """Like `predict`, but a prediction of its own for the object in each box."""
        predictions = []
        for prompt in _prompts(boxes, pos_points, neg_points, photo.size):
            canvas = Canvas(photo.size, self._threshold)
            canvas.add(self.predictor.predict(photo.window, prompt, image_key=photo.key))
            predictions.append(canvas.finish({}))
        return predictions


def _prompts(
    boxes: Sequence[BoxXYXY],
    pos_points: Sequence[PointXY],
    neg_points: Sequence[PointXY],
    size: SizeHW,
) -> list[Prompt]:
    """One prompt per box, everything clamped to the image, each click where it belongs."""
    height, width = size
    frame = (0.0, 0.0, float(width), float(height))
    clamped = [_inside_image(box, number, size) for number, box in enumerate(boxes)]

    def share(points: Sequence[PointXY]) -> list[tuple[PointXY, ...]]:
        shares: list[list[PointXY]] = [[] for _ in clamped]
        for point in points:
            here = clamp_point(point, frame)
            shares[min(range(len(clamped)), key=lambda i: _distance(here, clamped[i]))].append(here)
        return [tuple(points) for points in shares]

    return [
        Prompt(box, positive, negative)
        for box, positive, negative in zip(
            clamped, share(pos_points), share(neg_points), strict=True
        )
    ]


def _inside_image(box: BoxXYXY, number: int, size: SizeHW) -> BoxXYXY:
    clamped = clamp_box(box, size)
    height, width = size
    x1, y1, x2, y2 = box
    if clamped is None:
        raise UnusableRequest(
            "box_outside_image",
            f"Box {number + 1} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) lies outside the image "
            f"of {width} x {height} pixels.",
            field="obj_bbox",
            hint=f"Send corners between (0, 0) and ({width}, {height}).",
        )
    if max(x2 - x1, y2 - y1) < 1 < max(size):
        raise UnusableRequest(
            "empty_box",
            f"Box {number + 1} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is smaller than a pixel.",
            field="obj_bbox",
            hint="Send pixels, not fractions of the image: "
            f"corners between (0, 0) and ({width}, {height}).",
        )
    return clamped


def _distance(point: PointXY, box: BoxXYXY) -> tuple[float, float]:
    """How far a point is from a box (0 inside), then the box's area: the smaller of two wins."""
    dx = max(box[0] - point[0], 0.0, point[0] - box[2])
    dy = max(box[1] - point[1], 0.0, point[1] - box[3])
    return dx * dx + dy * dy, (box[2] - box[0]) * (box[3] - box[1])
