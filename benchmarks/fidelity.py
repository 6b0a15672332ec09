"""How far masks move when a photograph is decoded at a reduced size.

    python -m benchmarks.fidelity [MODEL]

The example photographs are enlarged and get grain; random boxes on them, most with no object in
particular, are segmented from all pixels and from as many as the crop needs. Such boxes are the
hardest case: where a network has no object to hold on to, the last bit of a pixel moves its mask.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataloaders.geometry import Box, Crop
from iog.settings import Settings
from model_handler import ModelHandler

__all__ = ["main"]

_EXAMPLES = Path(__file__).parent.parent / "examples"
_SCALES = (3.0, 4.5, 7.0, 9.0)
_BOXES = 6
_GRAIN = 5.0


def main() -> None:
    """Print mean and smallest IoU for each reduction."""
    settings = Settings.from_env()
    handler = ModelHandler(settings.with_model(sys.argv[1] if sys.argv[1:] else None))
    found: dict[int, list[float]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for path in sorted(_EXAMPLES.glob("*.jpg")):
        for scale in _SCALES:
            data = _enlarged(path, scale, rng)
            photo = handler.open(data)
            for _ in range(_BOXES):
                box = _random_box(rng, photo.size)
                reduction = Crop.around(box, handler.predictor.rule).reduction
                if reduction > 1:
                    click = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                    reduced, whole = (
                        handler.predict(image, boxes=[box], pos_points=[click])[0].array
                        for image in (photo, handler.open(photo.pixels()))
                    )
                    found[reduction].append(_iou(reduced, whole))
    if not found:
        print("This model samples its crop, so nothing is ever decoded at a reduced size.")
    for reduction, ious in sorted(found.items()):
        print(
            f"1/{reduction}: {len(ious)} boxes, IoU mean {np.mean(ious):.4f}, min {min(ious):.4f}"
        )


def _enlarged(path: Path, scale: float, rng: np.random.Generator) -> bytes:
    with Image.open(path) as picture:
        size = round(picture.width * scale), round(picture.height * scale)
        large = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    grain = rng.normal(0, _GRAIN, (*large.shape[:2], 1))
    noisy = np.clip(large + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _random_box(rng: np.random.Generator, size: tuple[int, int]) -> Box:
    height, width = size
    w, h = rng.uniform(0.4, 1, 2)
    x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    return x * width, y * height, (x + w) * width, (y + h) * height


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0


if __name__ == "__main__":
    main()
