"""A mapper without a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from iog.bulk.records import BoxedImage, Failure, ImageOutcome, MaskRow, Outcome
from iog.image import Image
from iog.masks import Mask

HEIGHT, WIDTH = 48, 64


class Ellipses:
    """A mapper without a network: the ellipse in each box, scored by the frame's brightness."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[int] = []
        self._stop_after = stop_after

    def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
        for image in images:
            if self._stop_after is not None and len(self.seen) >= self._stop_after:
                raise KeyboardInterrupt
            self.seen += [each.number for each in image.objects]
            assert callable(image.image)
            try:
                pixels = Image(image.image()).pixels()
            except OSError as error:
                yield ImageOutcome.failed(image, str(error))
                continue
            score = float(pixels.mean() / 255)
            yield ImageOutcome(
                image, tuple((each.number, ellipse(each.box, score)) for each in image.objects)
            )

    def close(self) -> None:
        return


def ellipse(box: tuple[float, float, float, float], score: float) -> Outcome:
    x1, y1, x2, y2 = box
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25
    mask = Mask.from_array(inside)
    row = MaskRow.of(mask)
    return MaskRow(row.size, row.counts, row.box, row.area, score) if mask.area else Failure("No.")
