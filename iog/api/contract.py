"""The wire: what a request may look like, and how an answer is written.

`parse` turns a body into a `Request` or raises the error that names what is wrong with it;
`encode` turns a prediction into the text of the answer. Nothing else in the project knows JSON
field names. Coordinates are image-frame pixels as CVAT sends them: floats, origin at the top-left
corner of the first pixel, points (x, y), boxes (x1, y1, x2, y2).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictStr,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from iog import masks
from iog.api.masktext import json_rows
from iog.api.payload import HINT_IMAGE, json_object, read_base64, show
from iog.errors import Code, MalformedRequest, RequestError, UnusableRequest

__all__ = [
    "FIELDS",
    "MAX_BOXES",
    "MAX_POINTS",
    "OUTPUTS",
    "BoxXYXY",
    "PointXY",
    "PredictionLike",
    "Request",
    "encode",
    "parse",
]

BoxXYXY = tuple[float, float, float, float]
PointXY = tuple[float, float]

OUTPUTS = ("mask", "shapes", "polygon", "rle", "png")
# Far beyond what a person draws. Every box costs a prediction, two without a click in it: more
# of them would keep a ResNet-101 on two cores busy until Nuclio gives up on the worker.
MAX_POINTS = 1000
MAX_BOXES = 16
# Larger than any image side and small enough that no later arithmetic or int32 overflows.
MAX_COORDINATE = 1e9

_HINT_POINT = "Send points as [x, y] pairs of numbers in image pixels, such as [[120.5, 80]]."
_HINT_BOX = (
    "Send the box as [[x1, y1], [x2, y2]] or [x1, y1, x2, y2] in image pixels; "
    "several boxes follow each other two corners at a time."
)
_HINT_OUTPUT = f"Send one name or a list of names out of: {', '.join(OUTPUTS)}."
_HINTS = {
    "image": HINT_IMAGE,
    "pos_points": _HINT_POINT,
    "neg_points": _HINT_POINT,
    "obj_bbox": _HINT_BOX,
    "threshold": "Send a probability between 0 and 1, such as 0.5, or leave the field out.",
    "output": _HINT_OUTPUT,
}
FIELDS = tuple(_HINTS)


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        image: the image file, decoded from base64; not yet known to be an image.
        image_key: digest of the file; equal for equal files, the key of the caches.
        boxes: at least one box, corners ordered, width and height above 0, image frame. They may
            reach beyond the image, whose size is not known here.
        pos_points: clicks inside the object, image frame.
        neg_points: clicks outside the object, image frame.
        threshold: probability in (0, 1) from which a pixel belongs to the object; None for the
            default of the weights.
        outputs: names out of `OUTPUTS`, in the order asked for, each once.
    """

    image: bytes
    image_key: str
    boxes: tuple[BoxXYXY, ...]
    pos_points: tuple[PointXY, ...]
    neg_points: tuple[PointXY, ...]
    threshold: float | None
    outputs: tuple[str, ...]


class PredictionLike(Protocol):
    """What `encode` needs of a prediction.

    Attributes:
        mask: uint8 [H, W], 0 or 1, C-contiguous, exactly the size of the received image.
        confidence: 0..1.
        bounds: (x0, y0, x1, y1), right and bottom exclusive, outside of which the mask is 0;
            None when the mask is empty.
    """

    @property
    def mask(self) -> NDArray[np.uint8]: ...  # noqa: D102 - described above

    @property
    def confidence(self) -> float: ...  # noqa: D102

    @property
    def bounds(self) -> tuple[int, int, int, int] | None: ...  # noqa: D102


# --- the shape of a body ---------------------------------------------------------------------
# pydantic checks and, by the validators below, brings every accepted form into one: points as
# [[x, y], ...], boxes as [[x1, y1, x2, y2], ...].


def _null_is_empty(value: object) -> object:
    return [] if value is None else value


def _form_of_points(value: object) -> str:
    """`[[x, y], ...]`, or the single point `[x, y]` of hand-written requests."""
    if isinstance(value, list | tuple) and value and not isinstance(value[0], list | tuple | dict):
        return "flat"
    return "nested"


def _form_of_boxes(value: object) -> str:
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        return "quads" if len(value[0]) == 4 else "nested"
    return _form_of_points(value)


def _wrap(numbers: list[float]) -> list[list[float]]:
    return [numbers]


def _corners_to_quads(corners: list[list[float]]) -> list[list[float]]:
    if len(corners) % 2:
        raise PydanticCustomError("odd_corners", "odd", {"count": len(corners)})
    return [first + second for first, second in zip(corners[::2], corners[1::2], strict=True)]


def _output_names(value: object) -> object:
    """One name or a list of names -> list of names, each known, each once."""
    names = [value] if isinstance(value, str) else value
    if names is None:
        return []
    if not isinstance(names, list | tuple):
        raise PydanticCustomError("output_type", "neither a name nor a list of names")
    for name in names:
        if name not in OUTPUTS:
            raise PydanticCustomError("output_name", "unknown", {"name": show(name)})
    return list(dict.fromkeys(names))


# strict: `true` and "3" are no numbers here, although Python and lax JSON readers take them.
_Coordinate = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=-MAX_COORDINATE, le=MAX_COORDINATE)
]
_Pair = Annotated[list[_Coordinate], Field(min_length=2, max_length=2)]
_Quad = Annotated[list[_Coordinate], Field(min_length=4, max_length=4)]
_Points = Annotated[
    Annotated[list[_Pair], Field(max_length=MAX_POINTS), Tag("nested")]
    | Annotated[_Pair, AfterValidator(_wrap), Tag("flat")],
    Discriminator(_form_of_points),
    BeforeValidator(_null_is_empty),
]
_Boxes = Annotated[
    Annotated[
        list[_Pair],
        Field(max_length=2 * MAX_BOXES),
        AfterValidator(_corners_to_quads),
        Tag("nested"),
    ]
    | Annotated[list[_Quad], Field(max_length=MAX_BOXES), Tag("quads")]
    | Annotated[_Quad, AfterValidator(_wrap), Tag("flat")],
    Discriminator(_form_of_boxes),
    BeforeValidator(_null_is_empty),
]


class _Body(BaseModel):
    """The request as JSON. Keys it does not name are ignored: CVAT adds some now and then."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    image: StrictStr
    pos_points: _Points = []
    neg_points: _Points = []
    obj_bbox: _Boxes = []
    threshold: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    output: Annotated[list[str], BeforeValidator(_output_names)] = []


# --- parse -----------------------------------------------------------------------------------


def parse(body: object, *, default_outputs: Sequence[str] = ("mask",)) -> Request:
    """Reads and checks the body of a request.

    Args:
        body: the JSON object as a dict, or its text as UTF-8 bytes or str. Nuclio hands over a
            dict only when the content type is exactly `application/json`, bytes otherwise.
        default_outputs: outputs of a request that names none.

    Returns:
        The checked request.

    Raises:
        MalformedRequest: (400) not JSON, not an object, or a field that is missing or wrong.
        UnusableRequest: (422) no box, an empty box, or more points or boxes than allowed.
    """
    try:
        fields = _Body.model_validate(json_object(body))
    except ValidationError as error:
        # include_url and the rest of pydantic's wording stay inside: annotators read our words.
        raise _explain(error.errors(include_url=False)) from None
    image, image_key = read_base64(fields.image)
    boxes, negatives = _boxes_and_negatives(_rows(fields.obj_bbox), _rows(fields.neg_points))
    return Request(
        image=image,
        image_key=image_key,
        boxes=boxes,
        pos_points=_as_points(_rows(fields.pos_points)),
        neg_points=negatives,
        threshold=fields.threshold,
        outputs=tuple(fields.output or default_outputs),
    )


def _rows(value: list[list[float]] | list[float]) -> list[list[float]]:
    """What the validators made of every form, which their annotations cannot express."""
    return cast("list[list[float]]", value)


def _boxes_and_negatives(
    quads: list[list[float]], negatives: list[list[float]]
) -> tuple[tuple[BoxXYXY, ...], tuple[PointXY, ...]]:
    """Ordered boxes, and the negative clicks that are clicks."""
    field = "obj_bbox"
    if not quads and len(negatives) >= 2:
        # CVAT 1.3 and 1.4 drew the box as the first two negative points.
        field, quads, negatives = "neg_points", [negatives[0] + negatives[1]], negatives[2:]
    if not quads:
        raise UnusableRequest(
            "missing_box",
            "There is no box around the object.",
            field="obj_bbox",
            hint=f"Draw a box first. {_HINTS['obj_bbox']}",
        )
    boxes = tuple((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in quads)
    for x1, y1, x2, y2 in boxes:
        if x1 == x2 or y1 == y2:
            raise UnusableRequest(
                "empty_box",
                f"The box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has no area.",
                field=field,
                hint="Draw the box around the object, from one corner to the opposite one.",
            )
    return boxes, _as_points(negatives)


def _as_points(pairs: list[list[float]]) -> tuple[PointXY, ...]:
    return tuple((x, y) for x, y in pairs)


# --- errors in words -------------------------------------------------------------------------


def _explain(errors: list[ErrorDetails]) -> RequestError:
    """Findings of pydantic as one error: the first in full, the others counted."""
    first = errors[0]
    location = first["loc"]
    name = str(location[0])
    path = _path(location)
    hint = _HINTS[name]
    if len(errors) > 1:
        hint += f" {len(errors) - 1} more to correct, next is {_path(errors[1]['loc'])}."
    if first["type"] == "too_long" and location[-1] in ("nested", "quads"):
        many, limit = ("boxes", MAX_BOXES) if name == "obj_bbox" else ("points", MAX_POINTS)
        code: Code = "too_many_boxes" if name == "obj_bbox" else "too_many_points"
        return UnusableRequest(
            code,
            f"`{path}` holds more {many} than the {limit} allowed.",
            field=path,
            hint=f"Send at most {limit} {many}.",
        )
    code, problem = _problem(first["type"], path, show(first["input"]), first.get("ctx", {}))
    return MalformedRequest(code, f"`{path}` {problem}.", field=path, hint=hint)


def _problem(kind: str, path: str, shown: str, context: dict[str, Any]) -> tuple[Code, str]:
    """Code and predicate for one of pydantic's error types."""
    name, inside, _ = path.partition("[")
    shape: Code = "invalid_box" if name == "obj_bbox" else "invalid_point"
    number: Code = "invalid_threshold" if name == "threshold" else "invalid_number"
    match kind:
        case "missing":
            return "missing_field", "is missing"
        case "too_short" | "too_long":
            wanted = context.get("min_length", context.get("max_length"))
            return shape, f"has {_count(context['actual_length'], 'number')} instead of {wanted}"
        case "list_type":
            return shape, f"is {shown}, not a {'list of numbers' if inside else 'list'}"
        case "odd_corners":
            return shape, f"has {_count(context['count'], 'corner')}; each box takes two"
        case "float_type":
            return number, f"is {shown}, not a number"
        case "finite_number" | "greater_than_equal" | "less_than_equal":
            return number, f"is {shown}, which is no place in an image"
        case "greater_than" | "less_than":
            return number, f"is {shown}, which is not between 0 and 1"
        case "output_name":
            return "unknown_output", f"asks for {context['name']}, which is none of the outputs"
        case "output_type":
            return "unknown_output", f"is {shown}, not a name or a list of names"
        case _:
            return "invalid_type", f"is {shown}, not a string"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _path(location: tuple[int | str, ...]) -> str:
    """`("pos_points", "nested", 0, 1)` -> `pos_points[0][1]`; the tag of the form is left out."""
    indices = (f"[{part}]" for part in location[1:] if isinstance(part, int))
    return str(location[0]) + "".join(indices)


# --- encode ----------------------------------------------------------------------------------


def encode(prediction: PredictionLike, outputs: Sequence[str]) -> str:
    """Writes the answer.

    Args:
        prediction: mask and confidence, image frame.
        outputs: names out of `OUTPUTS`; each becomes a key of the answer. `mask` also brings
            `points`, the outline polygon of the largest component.

    Returns:
        The JSON text. A str, because Nuclio's Python wrapper sends bytes through base64.
    """
    pieces: list[str] = []
    for name in outputs:
        for key, value in _ENCODERS[name](prediction).items():
            pieces += (",", f'"{key}":')
            if isinstance(value, np.ndarray):
                pieces += json_rows(value, bounds=prediction.bounds)
            else:
                pieces.append(orjson.dumps(value).decode("ascii"))
    # All at once: the text of a large mask is copied only here.
    return "".join(["{", *pieces[1:], "}"])


def _mask(prediction: PredictionLike) -> dict[str, object]:
    points = masks.outline(prediction.mask, bounds=prediction.bounds)
    return {"mask": prediction.mask, "points": points}


def _shapes(prediction: PredictionLike) -> dict[str, object]:
    runs = masks.cvat_rle(prediction.mask, bounds=prediction.bounds)
    # spec_id 0 is CVAT's fixed id of the confidence, which it wants as text.
    confidence = {"spec_id": 0, "value": f"{prediction.confidence:.4f}"}
    shape = {"type": "mask", "points": runs, "attributes": [confidence]}
    return {"shapes": [shape] if runs else []}


def _polygon(prediction: PredictionLike) -> dict[str, object]:
    return {"polygon": masks.polygons(prediction.mask, bounds=prediction.bounds)}


def _rle(prediction: PredictionLike) -> dict[str, object]:
    return {"rle": masks.coco_rle(prediction.mask, bounds=prediction.bounds)}


def _png(prediction: PredictionLike) -> dict[str, object]:
    return {"png": base64.b64encode(masks.png(prediction.mask)).decode("ascii")}


_ENCODERS: Mapping[str, Callable[[PredictionLike], dict[str, object]]] = {
    "mask": _mask,
    "shapes": _shapes,
    "polygon": _polygon,
    "rle": _rle,
    "png": _png,
}
