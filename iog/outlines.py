"""OpenCV's contours, which run through pixel centres, to rings of pixel edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["on_pixel_edges"]

# The sides of a pixel in the order in which a contour passes them, with the background on its
# right: 0 left, downwards; 1 lower, to the right; 2 right, upwards; 3 upper, to the left.
# Corner number i is where side i begins; (x, y) from the pixel's upper left corner.
_CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.int32)
# By dx + 1, dy + 1 of a step from one pixel of a contour to the next: the corner of the next
# pixel that the ring passes on the way ...
_ENTERED = np.array([(2, 3, 3), (2, 0, 0), (1, 1, 0)], np.int8)
# ... which is this corner of the pixel before.
_LEFT = np.array([(0, 0, 1), (3, 0, 1), (3, 2, 2)], np.int8)


def on_pixel_edges(
    contours: list[NDArray[np.int32]], *, offset: tuple[int, int]
) -> list[NDArray[np.int32]]:
    """Rings along the outer edges of the contours' pixels, without vertices on a straight line.

    At each pixel a ring runs from the corner it came by to the corner it leaves by, along one to
    four sides. All contours at once: a ragged mask has tens of thousands of them.

    Args:
        contours: int32 [N, 2], x and y of all pixels of a contour (``CHAIN_APPROX_NONE``), at
            least one.
        offset: x and y of the first pixel of the mask they were found in.

    Returns:
        int32 [V, 2] for each contour: x and y of pixel edges.
    """
    pixels = np.concatenate(contours)
    ends = np.cumsum([len(contour) for contour in contours])
    starts = np.concatenate(([0], ends[:-1]))
    following = np.arange(1, len(pixels) + 1)
    following[ends - 1] = starts
    step = pixels[following] - pixels + 1
    leaving = _LEFT[step[:, 0], step[:, 1]]
    entering = np.empty_like(leaving)
    entering[following] = _ENTERED[step[:, 0], step[:, 1]]
    # Where both are one corner the ring goes round the whole pixel: a tip, or a pixel alone.
    sides = (leaving - entering - 1) % 4 + 1

    # One entry for each side that a ring runs along.
    pixel = np.repeat(np.arange(len(pixels)), sides)
    last = np.cumsum(sides)
    nth = np.arange(len(pixel)) - np.repeat(last - sides, sides)
    side = (entering[pixel] + nth) % 4
    bounds = last[ends - 1]  # where each ring's sides end
    begins = np.concatenate(([0], bounds[:-1]))
    before = np.arange(len(pixel)) - 1
    before[begins] = bounds - 1
    corner = side != side[before]
    vertices = pixels[pixel[corner]] + _CORNERS[side[corner]] + np.array(offset, np.int32)
    return np.split(vertices, np.cumsum(corner)[bounds[:-1] - 1])
