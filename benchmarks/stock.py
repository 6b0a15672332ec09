"""The baseline "stock": an IOG function as CVAT ships one, in our own words.

It does what that function does for each click, in the way that comes first to mind: Pillow decodes
the whole image, the box with a margin is cut out, the ResNet-101 main network runs with all its
heads in eager mode, and the mask of the whole image is written by `json.dumps`. Nothing is kept.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from iog.settings import Settings, available_cores
from networks import build_network

__all__ = ["Stock"]

_FRAME = 512
_MARGIN = 30
_FWHM = 10.0
_THRESHOLD = 0.8  # of the logits


class Stock:
    """The function with its network.

    Args:
        weights: a state dict of the ResNet-101 main network as `torch.save` writes it.
    """

    name: Mapping[str, object] = {"engine": "torch", "precision": "fp32"}

    def __init__(self, weights: Path) -> None:
        torch.set_num_threads(Settings.from_env().threads or available_cores())
        self._network = build_network("iog-resnet101")
        self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network.eval()

    def answer(self, body: bytes) -> tuple[str, dict[str, float]]:
        """The answer to a request, and the milliseconds of its stages."""
        times = [time.perf_counter()]
        request = json.loads(body)
        data = base64.b64decode(request["image"])
        times.append(time.perf_counter())
        image = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        times.append(time.perf_counter())
        logits, box = self._logits(image, request)
        times.append(time.perf_counter())
        mask = _paste(logits, box, image)
        times.append(time.perf_counter())
        text = json.dumps({"mask": mask.tolist(), "points": _outline(mask)})
        times.append(time.perf_counter())
        names = ("parse", "open", "network", "paste", "write")
        return text, dict(zip(names, np.diff(times) * 1e3, strict=True))

    def forget(self) -> None:
        """There is nothing to forget."""

    def _logits(
        self, image: NDArray[np.uint8], request: dict[str, Any]
    ) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
        (x1, y1), (x2, y2) = request["obj_bbox"]
        box = (
            max(int(x1) - _MARGIN, 0),
            max(int(y1) - _MARGIN, 0),
            min(int(x2) + _MARGIN, image.shape[1]),
            min(int(y2) + _MARGIN, image.shape[0]),
        )
        crop = cv2.resize(
            image[box[1] : box[3], box[0] : box[2]],
            (_FRAME, _FRAME),
            interpolation=cv2.INTER_NEAREST,
        )
        scale = _FRAME / (box[2] - box[0]), _FRAME / (box[3] - box[1])
        maps = [
            _peaks([((x - box[0]) * scale[0], (y - box[1]) * scale[1]) for x, y in points])
            for points in (request["pos_points"], request["neg_points"])
        ]
        planes = np.concatenate([crop.astype(np.float32).transpose(2, 0, 1), maps])
        with torch.no_grad():
            heads = self._network(torch.from_numpy(planes)[None])
        logits: NDArray[np.float32] = heads[-1][0, 0].numpy()
        return logits, box


def _peaks(points: list[tuple[float, float]]) -> NDArray[np.float32]:
    """One map with a Gaussian peak of 255 at each point."""
    y, x = np.mgrid[:_FRAME, :_FRAME]
    peaks = np.zeros((_FRAME, _FRAME))
    for px, py in points:
        distance = (x - px) ** 2 + (y - py) ** 2
        peaks = np.maximum(peaks, np.exp(-4 * np.log(2) * distance / _FWHM**2))
    return (255 * peaks).astype(np.float32)


def _paste(
    logits: NDArray[np.float32], box: tuple[int, int, int, int], image: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    small = (logits > _THRESHOLD).astype(np.uint8)
    size = (box[2] - box[0], box[3] - box[1])
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    return mask


def _outline(mask: NDArray[np.uint8]) -> list[list[int]]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    largest = max(contours, key=cv2.contourArea)
    points = cv2.approxPolyDP(largest, 1.0, closed=True).reshape(-1, 2)
    return [[int(x), int(y)] for x, y in points]
