"""`iog bench`: what a click costs, beside a plain rendering of CVAT's own IOG function."""

from __future__ import annotations

import importlib
import json as json_text
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from iog.errors import SettingsError
from iog.settings import Settings

__all__ = ["bench"]

_LEAST_SIDE, _MOST_SIDE = 64, 16_384


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|PATH", help="Again for more of them [default: IOG_MODEL]."),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="As of IOG_ENGINE; again for more [default: IOG_ENGINE]."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="As of IOG_PRECISION; again for more [default: IOG_PRECISION]."),
    ] = None,
    image_size: Annotated[
        str, typer.Option(metavar="WxH,...", help="Sizes of the photographs, in pixels.")
    ] = "1920x1080,4000x3000",
    rounds: Annotated[int, typer.Option(min=1, help="Clicks of each kind on each photograph.")] = 7,
    sweeps: Annotated[
        bool,
        typer.Option(
            "--sweeps",
            help="Also the first model against image size, box size, clicks and mask area.",
        ),
    ] = False,
    throughput: Annotated[
        bool, typer.Option("--throughput", help="Also one worker against one for each core.")
    ] = False,
    busy: Annotated[
        bool,
        typer.Option(
            "--busy", help="Also next clicks on torch while every core is busy otherwise."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A fifth of the work; do not quote its figures.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write the rows as JSON into this file.", dir_okay=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write DATE-CPU.md with tables and plots into this folder.", file_okay=False
        ),
    ] = None,
) -> None:
    """Measure cold start, first click and next click, in turns with the stock function."""
    settings = Settings.from_env()
    asked: dict[str, list[str]] = {
        "models": model or [settings.model],
        "engines": engine or [settings.engine],
        "precisions": precision or [settings.precision],
    }
    sizes = tuple(_size(text) for text in image_size.split(","))
    # What would be refused after minutes of measuring is refused now.
    for name in asked["engines"]:
        Settings.from_env({"IOG_ENGINE": name})
    for name in asked["precisions"]:
        Settings.from_env({"IOG_PRECISION": name})
    if json is not None and not json.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json.parent}.", param_hint="--json")
    benchmarks = _benchmarks()
    run = benchmarks.run(
        settings,
        **asked,
        sizes=sizes,
        rounds=rounds,
        sweeps=sweeps,
        throughput=throughput,
        busy=busy,
        quick=quick,
    )
    for table in run.tables():
        table.show()
    if json is not None:
        json.write_text(json_text.dumps(run.as_json(), indent=1) + "\n")
        typer.echo(f"Wrote {json}", err=True)
    if report is not None:
        typer.echo(f"Wrote {run.write(report, today=date.today())}", err=True)


def _benchmarks() -> Any:  # noqa: ANN401 - no part of the package, so imported by name
    """The module `benchmarks.bench` of the clone that this package lies in.

    Raises:
        SettingsError: the package is installed without its repository.
    """
    root = Path(__file__).parents[2]
    if not (root / "benchmarks" / "stock.py").is_file():
        raise SettingsError(
            "`iog bench` comes with a clone of the repository: run it there, after `make torch`."
        )
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.bench")


def _size(text: str) -> tuple[int, int]:
    """`1920x1080` -> (1920, 1080)."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < _LEAST_SIDE or max(width, height) > _MOST_SIDE:
        raise typer.BadParameter(
            f"{text!r} is not a width and a height from {_LEAST_SIDE} to {_MOST_SIDE} with an x "
            "between them, such as 1920x1080.",
            param_hint="--image-size",
        )
    return width, height
