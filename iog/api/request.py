"""The body of a request, read and checked.

`parse` turns a body into a `Request`, or raises the error that says what is wrong with it and what
to send instead. Coordinates are image-frame pixels as CVAT sends them: floats, origin at the
top-left corner of the first pixel, points (x, y), boxes (x1, y1, x2, y2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

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
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from dataloaders.geometry import Box, Point, Size
from iog.api.body import HINT_IMAGE, json_object, show, unpack_base64
from iog.errors import Code, MalformedRequest, RequestError, UnusableRequest
from iog.masks import CocoRle, Mask
from iog.settings import OUTPUTS

__all__ = [
    "FIELDS",
    "FORMS",
    "MAX_BOXES",
    "MAX_POINTS",
    "Form",
    "Request",
    "mask_of",
    "parse",
    "request_schema",
]

Form = Literal["rle", "polygon", "png"]
FORMS: tuple[Form, ...] = ("rle", "polygon", "png")
# Far beyond what a person draws. Every box costs a prediction, two without a click in it: more
# of them would keep a ResNet-101 on two cores busy until Nuclio gives up on the worker.
MAX_POINTS = 1000
MAX_BOXES = 16
# Larger than any image side and small enough that no later arithmetic or int32 overflows.
MAX_COORDINATE = 1e9
# A mask has a few thousand characters; a text is unpacked into fifty times its size.
MAX_COUNTS = 2**21

_HINT_POINT = "Send points as [x, y] pairs of numbers in image pixels, such as [[120.5, 80]]."
_HINT_BOX = (
    "Send the box as [[x1, y1], [x2, y2]] or [x1, y1, x2, y2] in image pixels; "
    "several boxes follow each other two corners at a time."
)
_HINT_OUTPUT = f"Send one name or a list of names out of: {', '.join(OUTPUTS)}."
_HINT_MASK = 'Send {"size": [height, width], "counts": "..."}: COCO\'s compressed run lengths.'
_HINTS = {
    "image": HINT_IMAGE,
    "image_sha256": "Send the SHA-256 of the image file as 64 lower-case hexadecimal digits.",
    "mask_input": _HINT_MASK,
    "pos_points": _HINT_POINT,
    "neg_points": _HINT_POINT,
    "obj_bbox": _HINT_BOX,
    "threshold": "Send a probability between 0 and 1, such as 0.5, or leave the field out.",
    "output": _HINT_OUTPUT,
    "form": f"Send one of: {', '.join(FORMS)}; or leave the field out.",
    "tolerance": "Send pixels, such as 1.5; 0 gives exact outlines.",
    "largest": "Send how many components to keep, such as 1, or leave the field out.",
    "fill_holes": "Send pixels, such as 64, or leave the field out.",
}
FIELDS = tuple(_HINTS)


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        image: the bytes of the image file, not yet known to be an image; empty where the request
            names a digest.
        boxes: at least one box; with a mask to start from one or none. Corners ordered, width and
            height above 0, image frame. They may reach beyond the image, whose size is not known
            here.
        pos_points: clicks inside the object, image frame.
        neg_points: clicks on the background, image frame.
        threshold: probability in (0, 1) above which a pixel belongs to the object; None for the
            default of the weights.
        outputs: names out of `iog.settings.OUTPUTS`, in the order asked for, each once.
        form: how each entry of `objects` gives its mask.
        tolerance: pixels by which outlines may be simplified; None for the default.
        largest: how many components of each mask to keep; None for all.
        fill_holes: largest hole to fill, in pixels; None fills none.
        image_sha256: digest of an image file that was sent before; empty where it is sent now.
        mask_input: the mask to start from, for `mask_of`; None for none.
    """

    image: bytes
    boxes: tuple[Box, ...]
    pos_points: tuple[Point, ...]
    neg_points: tuple[Point, ...]
    threshold: float | None
    outputs: tuple[str, ...]
    form: Form = "rle"
    tolerance: float | None = None
    largest: int | None = None
    fill_holes: float | None = None
    image_sha256: str = ""
    mask_input: CocoRle | None = None


# --- the shape of a body ---------------------------------------------------------------------
# pydantic checks and, by the validators below, brings every accepted form into one: points as
# [[x, y], ...], boxes as [[x1, y1, x2, y2], ...].


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
_Pixels = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=MAX_COORDINATE)]
_Pair = Annotated[list[_Coordinate], Field(min_length=2, max_length=2)]
_Quad = Annotated[list[_Coordinate], Field(min_length=4, max_length=4)]
_Points = Annotated[
    Annotated[list[_Pair], Field(max_length=MAX_POINTS), Tag("nested")]
    | Annotated[_Pair, AfterValidator(_wrap), Tag("flat")],
    Discriminator(_form_of_points),
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
]


_OUTPUT_SCHEMA = {
    "anyOf": [
        {"enum": [*OUTPUTS, None]},
        {"type": "array", "items": {"enum": list(OUTPUTS)}},
    ]
}


class _RunLengths(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    size: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=MAX_COORDINATE)]],
        Field(min_length=2, max_length=2),
    ]
    counts: Annotated[StrictStr, Field(max_length=MAX_COUNTS)]


class _Body(BaseModel):
    """The request as JSON. Keys it does not name are ignored: CVAT adds some now and then."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        json_schema_extra={"oneOf": [{"required": ["image"]}, {"required": ["image_sha256"]}]},
    )

    image: Annotated[StrictStr, WithJsonSchema({"type": "string", "contentEncoding": "base64"})] = (
        ""
    )
    image_sha256: Annotated[StrictStr, Field(pattern="^[0-9a-f]{64}$")] = ""
    mask_input: _RunLengths | None = None
    pos_points: _Points | None = None
    neg_points: _Points | None = None
    obj_bbox: _Boxes | None = None
    threshold: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    output: Annotated[
        list[str], BeforeValidator(_output_names), WithJsonSchema(_OUTPUT_SCHEMA)
    ] = []
    form: Form | None = None
    tolerance: _Pixels | None = None
    largest: Annotated[int, Field(strict=True, ge=1, le=MAX_COORDINATE)] | None = None
    fill_holes: _Pixels | None = None


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
    mask, digest = fields.mask_input, fields.image_sha256
    _check_image(sent="image" in fields.model_fields_set, named=bool(digest))
    boxes, negatives = _boxes_and_negatives(
        _rows(fields.obj_bbox), _rows(fields.neg_points), masked=mask is not None
    )
    return Request(
        image=b"" if digest else unpack_base64(fields.image),
        boxes=boxes,
        pos_points=_as_points(_rows(fields.pos_points)),
        neg_points=negatives,
        threshold=fields.threshold,
        outputs=tuple(fields.output or default_outputs),
        form=fields.form or "rle",
        tolerance=fields.tolerance,
        largest=fields.largest,
        fill_holes=fields.fill_holes,
        image_sha256=digest,
        mask_input=None if mask is None else CocoRle(size=mask.size, counts=mask.counts),
    )


def request_schema() -> dict[str, Any]:
    """The body as JSON Schema: what `parse` refuses as malformed does not fit it.

    That a box takes two corners, and a base64 text an image, is more than a schema can say.
    """
    schema = _Body.model_json_schema(mode="validation")
    schema["title"] = "Request"
    schema["description"] = "Exactly one of `image` and `image_sha256`. Other keys are ignored."
    lengths = schema.pop("$defs")["_RunLengths"]
    lengths["title"] = "RunLengths"
    schema["properties"]["mask_input"]["anyOf"][0] = lengths
    for name, field in schema["properties"].items():
        for unwanted in ("title", "default"):
            field.pop(unwanted, None)
        field["description"] = _HINTS[name]
    return schema


def mask_of(run_lengths: CocoRle, size: Size) -> Mask:
    """The mask to start from.

    Args:
        run_lengths: ``Request.mask_input``.
        size: of the image; looked at first, as run lengths may unpack to anything.

    Raises:
        MalformedRequest: (400) the runs are none, or do not add up to the size.
        UnusableRequest: (422) the mask is of another size, or empty.
    """
    height, width = run_lengths["size"]
    if (height, width) != size:
        raise UnusableRequest(
            "other_size",
            f"`mask_input` is {width} x {height} pixels, the image {size[1]} x {size[0]}.",
            field="mask_input.size",
            hint="Send the mask in the size of the upright image: [height, width].",
        )
    try:
        mask = Mask.from_rle(run_lengths)
    except ValueError as error:
        raise MalformedRequest(
            "invalid_mask",
            f"`mask_input` is of no use: {error}",
            field="mask_input",
            hint=_HINT_MASK,
        ) from None
    if not mask.area:
        raise UnusableRequest(
            "empty_mask",
            "`mask_input` holds no pixel.",
            field="mask_input",
            hint="Leave it out and send a box.",
        )
    return mask


def _check_image(*, sent: bool, named: bool) -> None:
    """Exactly one of image and digest.

    Raises:
        MalformedRequest: none, or both.
    """
    if sent and named:
        raise MalformedRequest(
            "two_images",
            "There are both `image` and `image_sha256`.",
            field="image_sha256",
            hint="Send the file under `image`, or the digest of one sent before; not both.",
        )
    if not sent and not named:
        raise MalformedRequest(
            "missing_field", "`image` is missing.", field="image", hint=HINT_IMAGE
        )


def _rows(value: list[list[float]] | list[float] | None) -> list[list[float]]:
    """What the validators made of every form, which their annotations cannot express."""
    return cast("list[list[float]]", value or [])


def _boxes_and_negatives(
    quads: list[list[float]], negatives: list[list[float]], *, masked: bool
) -> tuple[tuple[Box, ...], tuple[Point, ...]]:
    """Ordered boxes, and the negative clicks that are clicks.

    Args:
        masked: there is a mask to start from, so that no box is needed.
    """
    field = "obj_bbox"
    if masked and len(quads) > 1:
        raise UnusableRequest(
            "too_many_boxes",
            f"`obj_bbox` holds {len(quads)} boxes for one `mask_input`.",
            field=field,
            hint="Send one box, or none.",
        )
    if not masked and not quads and len(negatives) >= 2:
        # CVAT 1.3 and 1.4 drew the box as the first two negative points.
        field, quads, negatives = "neg_points", [negatives[0] + negatives[1]], negatives[2:]
    if not masked and not quads:
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


def _as_points(pairs: list[list[float]]) -> tuple[Point, ...]:
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
    code = _FIELD_CODES.get(name, code)
    return MalformedRequest(code, f"`{path}` {problem}.", field=path, hint=hint)


_FIELD_CODES: dict[str, Code] = {
    "image_sha256": "invalid_sha256",
    "mask_input": "invalid_mask",
}
_NUMBER_CODES: dict[str, Code] = {
    "threshold": "invalid_threshold",
    "tolerance": "invalid_tolerance",
    "largest": "invalid_largest",
    "fill_holes": "invalid_fill_holes",
}


def _problem(kind: str, path: str, shown: str, context: dict[str, Any]) -> tuple[Code, str]:
    """Code and predicate for one of pydantic's error types."""
    name, inside, _ = path.partition("[")
    masked = path.startswith("mask_input")
    shape: Code = "invalid_box" if name == "obj_bbox" else "invalid_point"
    number: Code = _NUMBER_CODES.get(name, "invalid_number")
    match kind:
        case "literal_error":
            return "unknown_form", f"is {shown}, which is none of the forms"
        case "int_type" | "int_from_float":
            return number, f"is {shown}, not a whole number"
        case "string_pattern_mismatch":
            return number, f"is {shown}, not 64 lower-case hexadecimal digits"
        case "string_too_long":
            return number, f"has more than {MAX_COUNTS} characters"
        case "model_type" | "model_attributes_type":
            return number, f"is {shown}, not an object"
        case "finite_number" | "greater_than_equal" | "less_than_equal" if (
            name in _NUMBER_CODES or masked
        ):
            return number, f"is {shown}, which is out of range"
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
            return number, f"is {shown}, which is not above 0 and below 1"
        case "output_name":
            return "unknown_output", f"asks for {context['name']}, which is none of the outputs"
        case "output_type":
            return "unknown_output", f"is {shown}, not a name or a list of names"
        case _:
            return "invalid_type", f"is {shown}, not a string"


_TAGS = (".nested", ".quads", ".flat")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _path(location: tuple[int | str, ...]) -> str:
    """`("pos_points", "nested", 0, 1)` -> `pos_points[0][1]`; the tag of the form is left out."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[1:])
    return str(location[0]) + "".join(part for part in parts if part not in _TAGS)
