"""A mask as JSON text, without a number being formatted.

`json.dumps` takes half a second for the mask of a 12-megapixel photograph. Of its 24 MB most are
rows and ends of rows without an object, which are all alike; the rest has one digit and one comma
for each pixel, and those are made by an addition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["json_rows"]

# The text "0," as one little-endian number. A mask's values add to the digit.
_ZERO_AND_COMMA = int.from_bytes(b"0,", "little")
# Rows are turned into text in blocks of about so many pixels, which stay in the processor's cache.
_BLOCK_PIXELS = 1 << 17


def json_rows(
    mask: NDArray[np.uint8], *, bounds: tuple[int, int, int, int] | None = None
) -> list[str]:
    """The pieces of `json.dumps(mask.tolist(), separators=(",", ":"))`, to be joined.

    Args:
        mask: uint8 [H, W], 0 or 1.
        bounds: x0, y0, x1, y1, right and bottom exclusive, outside of which the mask is 0; None
            for an empty mask.
    """
    height, width = mask.shape
    if not height or not width:
        return ["[" + ",".join(["[]"] * height) + "]"]
    x0, y0, x1, y1 = bounds or (0, 0, 0, 0)
    empty_row = "[" + "0," * (width - 1) + "0],"
    before, after = "[" + "0," * x0, ("0," * (width - x1))[:-1] + "],"
    # The last cell of a row has no comma behind it.
    cut = None if x1 < width else -1
    pieces = ["[", empty_row * y0]
    step = max(1, _BLOCK_PIXELS // max(x1 - x0, 1))
    for top in range(y0, y1, step):
        block = mask[top : min(top + step, y1), x0:x1]
        text = np.add(block, _ZERO_AND_COMMA, dtype="<u2").view(np.uint8)
        for row in text:
            pieces += (before, str(row[:cut].data, "ascii"), after)
    pieces.append(empty_row * (height - y1))
    pieces.append("]")
    # The last row has no comma behind it either.
    last = -2 if pieces[-2] else -3
    pieces[last] = pieces[last][:-1]
    return pieces
