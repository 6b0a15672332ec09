"""The answer to a request: masks as JSON text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import orjson

from iog.api.request import Form
from iog.masks import POLYGON_TOLERANCE_PX, Mask, union

__all__ = ["json_rows", "write"]

# The text "0," as one little-endian number. A mask's values add to the digit.
_ZERO_AND_COMMA = int.from_bytes(b"0,", "little")
# Rows are turned into text in blocks of about so many pixels, which stay in the processor's cache.
_BLOCK_PIXELS = 1 << 17


def write(
    masks: Sequence[Mask],
    outputs: Sequence[str],
    *,
    form: Form = "rle",
    tolerance: float | None = None,
) -> str:
    """Write the answer.

    Args:
        masks: of the same image, at least one, one for each box.
        outputs: names out of ``iog.settings.OUTPUTS``; each becomes a key of the answer.
            ``objects`` is about each mask, the others are about their union. ``mask`` also brings
            ``points``, the outline of the largest component.
        form: of the masks in ``objects``.
        tolerance: pixels by which outlines may be simplified; default ``POLYGON_TOLERANCE_PX``.

    Returns:
        The JSON text. A str, because Nuclio's Python wrapper sends bytes through base64.
    """
    if tolerance is None:
        tolerance = POLYGON_TOLERANCE_PX
    pieces: list[str] = []
    whole: Mask | None = None
    for name in outputs:
        if name == "objects":
            pieces += (',"objects":', _json([_object(mask, form, tolerance) for mask in masks]))
            continue
        whole = union(masks) if whole is None else whole
        pieces += (f',"{name}":', *_WRITERS[name](whole, tolerance))
    # All at once: the text of a large mask is copied only here.
    return "".join(["{", pieces[0][1:], *pieces[1:], "}"])


def _json(value: object) -> str:
    return orjson.dumps(value).decode("ascii")


def _object(mask: Mask, form: Form, tolerance: float) -> dict[str, object]:
    return {
        "box": mask.box,
        "score": round(mask.score, 4),
        "area": mask.area,
        form: _FORMS[form](mask, tolerance),
    }


def _mask(mask: Mask, tolerance: float) -> Iterable[str]:
    return *json_rows(mask), ',"points":', _json(mask.outline(tolerance))


def _shapes(mask: Mask, tolerance: float) -> Iterable[str]:
    runs = mask.cvat_runs()
    # spec_id 0 is CVAT's fixed id of the confidence, which it wants as text.
    score = {"spec_id": 0, "value": f"{mask.score:.4f}"}
    shape = {"type": "mask", "points": runs, "attributes": [score]}
    return (_json([shape] if runs else []),)


_FORMS: Mapping[Form, Callable[[Mask, float], object]] = {
    "rle": lambda mask, tolerance: mask.rle(),
    "polygon": lambda mask, tolerance: mask.polygon(tolerance),
    "png": lambda mask, tolerance: base64.b64encode(mask.png()).decode("ascii"),
}


def _form(form: Form) -> Callable[[Mask, float], Iterable[str]]:
    return lambda mask, tolerance: (_json(_FORMS[form](mask, tolerance)),)


_WRITERS: Mapping[str, Callable[[Mask, float], Iterable[str]]] = {
    "mask": _mask,
    "shapes": _shapes,
    **{form: _form(form) for form in _FORMS},
}


def json_rows(mask: Mask) -> list[str]:
    """The pieces of ``json.dumps(mask.array.astype(int).tolist(), separators=(",", ":"))``.

    ``json.dumps`` takes half a second for the mask of a 12-megapixel photograph. Most of its 24 MB
    are rows and ends of rows without an object, which are all alike. The rest has one digit and one
    comma for each pixel, and those are made by an addition.
    """
    height, width = mask.size
    x0, y0, x1, y1 = mask.region
    empty_row = "[" + "0," * (width - 1) + "0],"
    before, after = "[" + "0," * x0, ("0," * (width - x1))[:-1] + "],"
    # The last cell of a row has no comma behind it.
    cut = None if x1 < width else -1
    pieces = ["[", empty_row * y0]
    step = max(1, _BLOCK_PIXELS // max(x1 - x0, 1))
    for top in range(0, y1 - y0, step):
        block = mask.pixels[top : top + step]
        text = np.add(block, _ZERO_AND_COMMA, dtype="<u2").view(np.uint8)
        for row in text:
            pieces += (before, str(row[:cut].data, "ascii"), after)
    pieces.append(empty_row * (height - y1))
    pieces.append("]")
    # The last row has no comma behind it either.
    last = -2 if pieces[-2] else -3
    pieces[last] = pieces[last][:-1]
    return pieces
