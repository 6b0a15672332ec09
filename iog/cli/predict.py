"""`iog predict`: one image, the objects in its boxes."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iog.settings import Settings

if TYPE_CHECKING:
    from iog.api.request import Request
    from iog.image import Image
    from iog.masks import Mask

__all__ = ["predict"]

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def predict(
    image: Annotated[Path, typer.Argument(help="The image file.", dir_okay=False, exists=True)],
    box: Annotated[
        list[str],
        typer.Option(
            metavar="X1,Y1,X2,Y2",
            help="Two corners around an object, in image pixels; again for another object.",
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point on the object; any number of them."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point on the background; any number of them."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability above which a pixel is object [default: the model's]."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the mask to this PNG file, 0 and 255 [default, when nothing else is asked "
            "for: the image's name with -mask.png, in this folder]."
        ),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Write the image with mask and prompts drawn in.")
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the function's JSON answer; - is the terminal."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="rle|polygon|png",
            help="Print one JSON entry for each box: tight box, score, area, mask in this form.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Pixels by which outlines may be simplified [default: 1]; 0 is exact."),
    ] = None,
    largest: Annotated[
        int | None,
        typer.Option(help="Keep so many of each mask's largest components [default: all]."),
    ] = None,
    fill_holes: Annotated[
        float | None, typer.Option(help="Fill holes of at most so many pixels [default: none].")
    ] = None,
) -> None:
    """Segment the objects in the boxes of one image.

    Example: iog predict photo.jpg --box 120,80,430,390 --point 260,240 --overlay seen.png
    """
    body: dict[str, object] = {
        "obj_bbox": [_numbers("--box", text, 4) for text in box],
        "pos_points": [_numbers("--point", text, 2) for text in point or ()],
        "neg_points": [_numbers("--negative", text, 2) for text in negative or ()],
        "threshold": threshold,
        "form": form,
        "tolerance": tolerance,
        "largest": largest,
        "fill_holes": fill_holes,
    }
    if form is not None:
        body["output"] = "objects"
        json = "-" if json is None else json
    if tolerance is not None and json is None:
        raise typer.BadParameter(
            "it simplifies the outlines that --form and --json write: give one of them.",
            param_hint="--tolerance",
        )
    if output is None and overlay is None and json is None:
        output = Path(f"{image.stem}-mask.png")
    _check_names(image, output=output, overlay=overlay, json=json)
    settings = Settings.from_env().with_model(model)

    # torch comes with this: what needs no model has been refused by now
    from iog.api.headers import outputs_for
    from iog.api.request import parse
    from iog.masks import union
    from model_handler import ModelHandler

    body["image"] = base64.b64encode(image.read_bytes()).decode()
    request = parse(body, default_outputs=settings.output or outputs_for(headers=None))
    handler = ModelHandler(settings)
    opened = handler.open(request.image)
    masks = handler.predict(
        opened,
        boxes=request.boxes,
        pos_points=request.pos_points,
        neg_points=request.neg_points,
        threshold=request.threshold,
        largest=request.largest,
        fill_holes=request.fill_holes,
    )
    _write(masks, request, opened, output=output, overlay=overlay, json=json)
    whole = union(masks)
    area, pixel_count = whole.area, whole.size[0] * whole.size[1]
    typer.echo(
        f"{area} of {pixel_count} pixels ({area / pixel_count:.1%}), "
        f"score {whole.score:.2f}, {sum(handler.timings.values()):.0f} ms",
        err=True,
    )


def _write(
    masks: list[Mask],
    request: Request,
    image: Image,
    *,
    output: Path | None,
    overlay: Path | None,
    json: str | None,
) -> None:
    from iog.api.response import write
    from iog.masks import union

    if output is not None:
        _save(output, union(masks).png())
    if overlay is not None:
        import cv2

        from iog.overlay import draw

        picture = draw(
            image.pixels(),
            union(masks).array,
            boxes=request.boxes,
            pos_points=request.pos_points,
            neg_points=request.neg_points,
        )
        _, written = cv2.imencode(overlay.suffix.lower(), picture[:, :, ::-1])
        _save(overlay, written.tobytes())
    if json is None:
        return
    text = write(masks, request.outputs, form=request.form, tolerance=request.tolerance)
    if json == "-":
        sys.stdout.write(text + "\n")
    else:
        _save(Path(json), text.encode())


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
