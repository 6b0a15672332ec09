"""How far masks move when a photograph is opened at a reduced size.

    python -m benchmarks.fidelity [MODEL]

The example photographs are enlarged and get grain. Random boxes on them, most with no object in
particular, are segmented from all pixels and from as many as the crop needs. Such boxes are the
hardest case: where a network has no object to hold on to, the last bit of a pixel moves its mask.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

import iog
from dataloaders.geometry import Crop
from iog.evaluation.scores import iou
from iog.settings import Settings

__all__ = ["main"]

_EXAMPLES = Path(__file__).parent.parent / "examples"
_SCALES = (3.0, 4.5, 7.0, 9.0)
_BOXES = 6
_GRAIN = 5.0


def main() -> None:
    """Print mean and smallest IoU for each reduction."""
    predictor = iog.load(sys.argv[1] if sys.argv[1:] else Settings.from_env().model)
    found: dict[int, list[float]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for path in sorted(_EXAMPLES.glob("*.jpg")):
        for scale in _SCALES:
            image = predictor.set_image(_enlarged(path, scale, rng))
            height, width = image.size
            for _ in range(_BOXES):
                w, h = rng.uniform(0.4, 1, 2)
                x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
                box = x * width, y * height, (x + w) * width, (y + h) * height
                reduction = Crop.around(box, predictor.rule).reduction
                if reduction > 1:
                    masks = []
                    for source in (image, image.pixels()):
                        predictor.set_image(source)
                        click = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                        masks.append(predictor.predict(box, [click]).array)
                    reduced, whole = masks
                    found[reduction].append(iou(reduced, whole, np.zeros_like(whole)))
    if not found:
        print("This model samples its crop, so nothing is ever opened at a reduced size.")
    for reduction, ious in sorted(found.items()):
        print(
            f"1/{reduction}: {len(ious)} boxes, IoU mean {np.mean(ious):.4f}, min {min(ious):.4f}"
        )


def _enlarged(path: Path, scale: float, rng: np.random.Generator) -> bytes:
    with Image.open(path) as picture:
        size = round(picture.width * scale), round(picture.height * scale)
        large = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    noisy = np.clip(large + rng.normal(0, _GRAIN, (*large.shape[:2], 1)), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
