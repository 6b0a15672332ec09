"""`iog predict`: one image, one object, one mask."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iog.settings import Settings

if TYPE_CHECKING:
    from iog.api.contract import Request
    from iog.image import Photo
    from iog.prediction import Prediction

__all__ = ["predict"]

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


_Image = Annotated[Path, typer.Argument(help="The image file.", dir_okay=False, exists=True)]
_Boxes = Annotated[
    list[str],
    typer.Option(
        metavar="X1,Y1,X2,Y2",
        help="Two corners around the object, in image pixels; again for another part of it.",
    ),
]
_Positive = Annotated[
    list[str] | None, typer.Option(metavar="X,Y", help="A point on the object; any number of them.")
]
_Negative = Annotated[
    list[str] | None,
    typer.Option(metavar="X,Y", help="A point beside the object; any number of them."),
]
_Model = Annotated[
    str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
]
_Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which a pixel is object [default: the model's]."),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        help="Write the mask to this PNG file, 0 and 255 [default, when nothing else is asked "
        "for: the image's name with -mask.png, in this folder]."
    ),
]
_Overlay = Annotated[
    Path | None, typer.Option(help="Write the image with mask and prompts drawn in.")
]
_Json = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write the function's JSON answer; - is the terminal."),
]


def predict(
    image: _Image,
    box: _Boxes,
    point: _Positive = None,
    negative: _Negative = None,
    model: _Model = None,
    threshold: _Threshold = None,
    output: _Output = None,
    overlay: _Overlay = None,
    json: _Json = None,
) -> None:
    """Segment one object in one image.

    Example: iog predict photo.jpg --box 120,80,430,390 --point 260,240 --overlay seen.png
    """
    body: dict[str, object] = {
        "obj_bbox": [_numbers("--box", text, 4) for text in box],
        "pos_points": [_numbers("--point", text, 2) for text in point or ()],
        "neg_points": [_numbers("--negative", text, 2) for text in negative or ()],
        "threshold": threshold,
    }
    if output is None and overlay is None and json is None:
        output = Path(f"{image.stem}-mask.png")
    _check_names(image, output=output, overlay=overlay, json=json)
    settings = Settings.from_env().with_model(model)

    # torch comes with this: what needs no model has been refused by now
    from iog.api import clients, contract
    from model_handler import ModelHandler

    body["image"] = base64.b64encode(image.read_bytes()).decode()
    request = contract.parse(
        body, default_outputs=settings.output or clients.outputs_for(headers=None)
    )
    handler = ModelHandler(settings)
    photo = handler.open(request.image, request.image_key)
    prediction = handler.predict(
        photo,
        boxes=request.boxes,
        pos_points=request.pos_points,
        neg_points=request.neg_points,
        threshold=request.threshold,
    )
    _write(prediction, request, photo, output=output, overlay=overlay, json=json)
    area, pixel_count = prediction.area, prediction.mask.size
    typer.echo(
        f"{area} of {pixel_count} pixels ({area / pixel_count:.1%}), "
        f"confidence {prediction.confidence:.2f}, {sum(prediction.timings.values()):.0f} ms",
        err=True,
    )


def _write(
    prediction: Prediction,
    request: Request,
    photo: Photo,
    *,
    output: Path | None,
    overlay: Path | None,
    json: str | None,
) -> None:
    from iog import masks
    from iog.api import contract

    if output is not None:
        _save(output, masks.png(prediction.mask))
    if overlay is not None:
        import cv2

        from iog.overlay import draw

        picture = draw(
            photo.pixels(),
            prediction.mask,
            boxes=request.boxes,
            pos_points=request.pos_points,
            neg_points=request.neg_points,
        )
        _, encoded = cv2.imencode(overlay.suffix.lower(), picture[:, :, ::-1])
        _save(overlay, encoded.tobytes())
    if json == "-":
        sys.stdout.write(contract.encode(prediction, request.outputs) + "\n")
    elif json is not None:
        _save(Path(json), contract.encode(prediction, request.outputs).encode())


def _save(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    typer.echo(f"Wrote {path}", err=True)


def _numbers(option: str, text: str, count: int) -> list[float]:
    """Comma-separated numbers; what they mean is checked where requests are."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        example = "120,80,430,390" if count == 4 else "260,240"
        raise typer.BadParameter(
            f"{text!r} is not {count} numbers with commas between them, such as {example}.",
            param_hint=option,
        )
    return numbers


def _check_names(
    image: Path, *, output: Path | None, overlay: Path | None, json: str | None
) -> None:
    """Refuse early what could not be written later, or would overwrite the image."""
    for option, path, endings in (
        ("--output", output, (".png",)),
        ("--overlay", overlay, _PICTURES),
        ("--json", None if json in (None, "-") else Path(json), ()),
    ):
        if path is None:
            continue
        if endings and path.suffix.lower() not in endings:
            raise typer.BadParameter(
                f"{path} does not end in {' or '.join(endings)}.", param_hint=option
            )
        if path.exists() and path.samefile(image):
            raise typer.BadParameter(f"{path} is the image itself.", param_hint=option)
