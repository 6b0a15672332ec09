"""Requests as a day brings them: clicks on photographs, corrections, mistakes, nonsense."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests import builders
from tests.endurance.harness import ROOT
from tests.request_cases import cases

__all__ = ["clicks", "day"]

_PHOTOS = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
_OUTPUTS = ("mask", "shapes", "polygon", "rle", "png")


def clicks(seed: int) -> dict[str, Any]:
    """One click on one of the photographs, somewhere; the same for the same seed."""
    draw = random.Random(seed)
    x, y = draw.randrange(0, 300), draw.randrange(0, 300)
    box = [[x, y], [x + draw.randrange(40, 200), y + draw.randrange(40, 200)]]
    click = [x + draw.randrange(10, 40), y + draw.randrange(10, 40)]
    wrong = [[x + 2, y + 2]] if draw.random() < 0.5 else []
    return builders.body(
        _PHOTOS[seed % len(_PHOTOS)],
        obj_bbox=box,
        pos_points=[click],
        neg_points=wrong,
        output=[draw.choice(_OUTPUTS)],
    )


def day(many: int, seed: int = 1) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Bodies and headers: half of them clicks, the rest every request of `request_cases`."""
    draw = random.Random(seed)
    table = [(case.content(), case.headers) for case in cases()]
    headers = {"Content-Type": "application/json"}
    for number in range(many):
        if number % 2:
            yield json.dumps(clicks(draw.randrange(200))).encode(), headers
        else:
            yield table[number // 2 % len(table)]
