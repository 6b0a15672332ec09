"""Augmentation of crops for training: what a photograph may look like besides what it shows.

All functions take and return float32 [S, S, 3], RGB in 0..255, and draw from ``rng``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box

Photo = NDArray[np.float32]


def jitter_box(box: Box, rng: np.random.Generator, *, share: float) -> Box:
    """Move each side of ``box`` by a normal error of ``share`` of the box's width or height."""
    width, height = box[2] - box[0], box[3] - box[1]
    dx1, dx2 = rng.normal(0.0, share * width, 2)
    dy1, dy2 = rng.normal(0.0, share * height, 2)
    x1, x2 = sorted((box[0] + dx1, box[2] + dx2))
    y1, y2 = sorted((box[1] + dy1, box[3] + dy2))
    return float(x1), float(y1), float(max(x2, x1 + 1)), float(max(y2, y1 + 1))


def photometric(photo: Photo, rng: np.random.Generator) -> Photo:
    """Brightness, contrast, colour cast, grey, blur, noise and JPEG, each now and then."""
    out = photo * np.float32(rng.uniform(0.7, 1.3)) + np.float32(rng.uniform(-25, 25))
    if rng.random() < 0.3:
        mean = out.mean(dtype=np.float64)
        out = (out - np.float32(mean)) * np.float32(rng.uniform(0.6, 1.4)) + np.float32(mean)
    if rng.random() < 0.5:
        out = out * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.1:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 2.0))).astype(np.float32)
    if rng.random() < 0.15:
        out = out + rng.normal(0.0, rng.uniform(2.0, 15.0), out.shape).astype(np.float32)
    out = np.clip(out, 0.0, 255.0)
    if rng.random() < 0.15:
        out = _jpeg(out, quality=int(rng.integers(25, 85)))
    return out


def _jpeg(photo: Photo, *, quality: int) -> Photo:
    bgr = cv2.cvtColor(photo.astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # just encoded
    return decoded.astype(np.float32)
