"""How much of a truncated image file is there.

A header of a few bytes can announce an image of hundreds of megabytes. Libraries that accept
truncated files return it, filled with one colour.
"""

from __future__ import annotations

import re
from typing import Any

from PIL import Image, ImageFile

__all__ = ["ends_in_nothing", "fraction_present"]

# Fewest bits a pixel can take in these encodings, whatever the picture: the shortest Huffman code
# for 16 x 16 pixels, and the longest run that one code of LZW can stand for. Of Deflate it is the
# factor by which it shrinks at best.
_LEAST_BITS = {"jpeg": 1 / 256, "gif": 12 / 4096}
_DEFLATE_AT_BEST = 1032


def fraction_present(picture: Image.Image, length: int) -> float:
    """The largest fraction of the pixels, 0..1, that a file of `length` bytes can hold.

    The header alone says it: where each part of the picture begins, how large it is, and how few
    bits its compression can do with.
    """
    if not isinstance(picture, ImageFile.ImageFile) or not picture.tile:
        return 1.0  # WEBP and AVIF read it all when they open
    announced, present = 0, 0.0
    for encoding, box, offset, args in picture.tile:
        x0, y0, x1, y1 = box or (0, 0, *picture.size)
        pixels = (x1 - x0) * (y1 - y0)
        bits = _least_bits(encoding, args, bands=len(picture.getbands()), width=x1 - x0)
        announced += pixels
        present += min(pixels, max(length - offset, 0) * 8 / bits) if bits else pixels
    # More than the picture if it stores red, green and blue apart, less if parts are left out.
    return present / max(announced, picture.width * picture.height)


def _least_bits(encoding: str, args: Any, *, bands: int, width: int) -> float:  # noqa: ANN401
    """Fewest bits that a pixel can take in one of Pillow's encodings; 0 where nobody knows."""
    mode, *others = args if isinstance(args, tuple) else (args,)
    if encoding == "raw" and others and others[0]:  # bytes from row to row
        return float(others[0] * 8 / width)
    if encoding == "ppm":
        return bands * (8 if others[0] < 256 else 16)
    if encoding == "ppm_plain":  # decimal digits and a space, or just 0 and 1
        return bands * (8 if others == [] else 16)
    if encoding in ("raw", "zip"):
        # As in "RGB;16B" or "P;4"; a single letter may be one band of several, stored apart.
        name, _, details = str(mode).partition(";")
        depth = re.search(r"\d+", details)
        single = 1 if name == "1" else 32 if name in ("I", "F") else 8
        bits = (int(depth.group()) if depth else single) * (1 if len(name) == 1 else bands)
        return bits / _DEFLATE_AT_BEST if encoding == "zip" else bits
    return _LEAST_BITS.get(encoding, 0)


def ends_in_nothing(picture: Image.Image) -> bool:
    """Whether more than half of the rows hold one value, with which libraries fill what is missing.

    These are the last rows, or every other one: interlaced files keep those for the end.
    """
    height = picture.height
    if _is_flat(_extrema(picture, (height - 1) // 2, height)):
        return True
    others = range(1, height, 2)
    if not others:
        return False
    last = _extrema(picture, others[-1], others[-1] + 1)
    return _is_flat(last) and all(_extrema(picture, row, row + 1) == last for row in others)


def _extrema(picture: Image.Image, top: int, bottom: int) -> tuple[Any, ...]:
    """Smallest and largest value of each band in the rows from `top` up to `bottom`."""
    rows = picture.crop((0, top, picture.width, bottom))
    if rows.mode.startswith("I;16"):  # Pillow does not compare all of these
        rows = rows.convert("I")
    ends = rows.getextrema()
    return ends if isinstance(ends[0], tuple) else (ends,)


def _is_flat(extrema: tuple[Any, ...]) -> bool:
    return all(low == high for low, high in extrema)
