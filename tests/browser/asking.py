"""What the server answers a script, to compare what the page shows with."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

__all__ = ["Mask", "decoded", "encoded", "mask_of", "overlap"]

Mask = NDArray[np.bool_]


def mask_of(
    url: str,
    photo: Path,
    box: Sequence[float],
    add: Sequence[Sequence[float]] = (),
    remove: Sequence[Sequence[float]] = (),
    **more: object,
) -> Mask:
    """The mask of one prompt, sent as README shows it: bool [H, W]."""
    body = {
        "image": base64.b64encode(photo.read_bytes()).decode(),
        "obj_bbox": [list(box[:2]), list(box[2:])],
        "pos_points": [list(point) for point in add],
        "neg_points": [list(point) for point in remove],
        "output": "rle",
        **more,
    }
    answer = httpx.post(url, json=body, timeout=120, trust_env=False)
    assert answer.status_code == 200, answer.text
    return decoded(answer.json()["rle"])


def decoded(rle: Any) -> Mask:  # noqa: ANN401
    """COCO's run lengths as bool [H, W]."""
    pixels: Mask = coco.decode(rle).astype(bool)
    return pixels


def encoded(mask: Mask) -> dict[str, Any]:
    """bool [H, W] as COCO's run lengths, as JSON has them."""
    written = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": written["size"], "counts": written["counts"].decode()}


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union; 1 if both are empty."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0
