"""A small made-up annotation task, in the form of CVAT's "COCO 1.0" export: cables.

    python -m tests.cables FOLDER

Cables are thin and leave most of their box empty, which a model for everyday objects has hardly
seen; so they show what fine-tuning does. Their backgrounds are pieces of the example photographs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SIDE = 256
PHOTOS = 40
CABLES = 2


def write_export(folder: Path, *, photos: int = PHOTOS, seed: int = 0) -> Path:
    """Write photographs and annotations under ``folder``.

    Returns:
        The JSON file; the photographs lie in ``images/default`` beside its folder.
    """
    rng = np.random.default_rng(seed)
    grounds = [cv2.imread(str(path)) for path in sorted(EXAMPLES.glob("*.jpg"))]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "images" / "default").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for number in range(photos):
        ground = grounds[int(rng.integers(len(grounds)))]
        assert ground is not None
        photo = _piece(ground.astype(np.uint8), rng)
        for _ in range(CABLES):
            mask = _cable(rng)
            _paint(photo, mask, rng)
            for other in annotations:
                if other["image_id"] == number + 1:
                    other["mask"][mask > 0] = 0  # the new one lies on top
            annotations.append({"image_id": number + 1, "mask": mask})
        name = f"cables{number:03}.jpg"
        cv2.imwrite(str(folder / "images" / "default" / name), photo)
        images.append({"id": number + 1, "file_name": name, "width": SIDE, "height": SIDE})
    path = folder / "annotations" / "instances_default.json"
    content = {
        "images": images,
        "annotations": [_annotation(i + 1, **a) for i, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cable"}],
    }
    path.write_text(json.dumps(content))
    return path


def _piece(ground: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    top = int(rng.integers(ground.shape[0] - SIDE + 1))
    left = int(rng.integers(ground.shape[1] - SIDE + 1))
    piece = ground[top : top + SIDE, left : left + SIDE]
    return np.ascontiguousarray(piece[:, :: int(rng.choice([-1, 1]))])


def _cable(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A cubic Bezier curve with a thickness, as a mask of 0 and 1."""
    corners = rng.uniform(0.08, 0.92, (4, 2)) * SIDE
    t = np.linspace(0, 1, 80)[:, None]
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    curve = sum(w * corner for w, corner in zip(weights, corners, strict=True))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    points = np.round(np.asarray(curve)).astype(np.int32)
    cv2.polylines(mask, [points], isClosed=False, color=1, thickness=int(rng.integers(5, 11)))
    return mask


def _paint(photo: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A cable of one colour, lit from above, with noise."""
    colour = rng.uniform(20, 235, 3)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    light = 0.65 + 0.35 * depth / max(float(depth.max()), 1.0)
    cable = colour * light[..., None] + rng.normal(0, 6, photo.shape)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]
    photo[:] = np.clip(photo * (1 - alpha) + cable * alpha, 0, 255).astype(np.uint8)


def _annotation(number: int, *, image_id: int, mask: NDArray[np.uint8]) -> dict[str, Any]:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = [o.reshape(-1).astype(float).tolist() for o in outlines if len(o) > 2]
    x, y, width, height = cv2.boundingRect(mask)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "segmentation": polygons,
        "area": int(mask.sum()),
        "bbox": [x, y, width, height],
        "iscrowd": 0,
        "attributes": {"occluded": False},
    }


if __name__ == "__main__":
    print(write_export(Path(sys.argv[1])))
