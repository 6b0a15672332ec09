"""A small data set of coloured shapes, as a folder or a tar file of instance masks."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np


def write_folder(path: Path, *, photos: int = 4, side: int = 96) -> Path:
    """Write ``photos`` pictures of two discs each, the last one as the ``val`` split."""
    rng = np.random.default_rng(0)
    records = []
    path.mkdir(parents=True, exist_ok=True)
    for number in range(photos):
        image = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
        mask = np.zeros((side, side), np.uint8)
        for instance in (1, 2):
            centre = rng.integers(side // 4, 3 * side // 4, 2)
            colour = rng.integers(150, 255, 3)
            disc = cv2.circle(
                np.zeros_like(mask), [int(c) for c in centre], side // (4 * instance), 1, -1
            )
            image[disc > 0] = colour
            mask[disc > 0] = instance
        mask[:2] = 255
        cv2.imwrite(str(path / f"{number}.png"), image[..., ::-1])
        cv2.imwrite(str(path / f"{number}_mask.png"), mask)
        records.append(
            {
                "set": "discs" if number % 2 else "rings",
                "split": "val" if number == photos - 1 else "train",
                "image": f"{number}.png",
                "mask": f"{number}_mask.png",
                "width": side,
                "height": side,
                "instances": [{"id": i, "category": f"disc{i}"} for i in (1, 2)],
            }
        )
    (path / "manifest.json").write_text(json.dumps(records))
    return path


def write_tar(path: Path, folder: Path) -> Path:
    """Pack a folder of ``write_folder`` into an uncompressed tar file."""
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, arcname=file.name)
    return path
