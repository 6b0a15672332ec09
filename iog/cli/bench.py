"""`iog bench`: what a click costs, beside a plain rendering of CVAT's own IOG function."""

from __future__ import annotations

import json as json_text
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from iog.errors import SettingsError
from iog.settings import Settings

if TYPE_CHECKING:
    from benchmarks.bodies import SizeWH
    from benchmarks.clicks import Clicks, Plan
    from benchmarks.process import Contender
    from benchmarks.report import Run
    from benchmarks.rows import Row
    from benchmarks.sweeps import Curve

__all__ = ["bench"]

_LEAST_SIDE, _MOST_SIDE = 64, 16_384

_Models = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME|PATH", help="Again for more of them [default: IOG_MODEL]."),
]
_Engines = Annotated[
    list[str] | None, typer.Option(help="As of IOG_ENGINE; again for more [default: IOG_ENGINE].")
]
_Precisions = Annotated[
    list[str] | None,
    typer.Option(help="As of IOG_PRECISION; again for more [default: IOG_PRECISION]."),
]
_Sizes = Annotated[
    str, typer.Option(metavar="WxH,...", help="Sizes of the photographs, in pixels.")
]
_Json = Annotated[
    Path | None, typer.Option(help="Write the rows as JSON into this file.", dir_okay=False)
]
_Report = Annotated[
    Path | None,
    typer.Option(help="Write DATE-CPU.md with tables and plots into this folder.", file_okay=False),
]
_Rounds = Annotated[int, typer.Option(min=1, help="Clicks of each kind on each photograph.")]
_Quick = Annotated[
    bool, typer.Option("--quick", help="A fifth of the work, for a look; no figure to quote.")
]
_Sweeps = Annotated[
    bool,
    typer.Option(
        "--sweeps",
        help="Also the first model against image size, box size, clicks and mask area.",
    ),
]
_Throughput = Annotated[
    bool, typer.Option("--throughput", help="Also one worker against one for each core.")
]
_Busy = Annotated[
    bool,
    typer.Option("--busy", help="Also next clicks on torch while every core is busy otherwise."),
]


def bench(
    model: _Models = None,
    engine: _Engines = None,
    precision: _Precisions = None,
    image_size: _Sizes = "1920x1080,4000x3000",
    rounds: _Rounds = 7,
    sweeps: _Sweeps = False,
    throughput: _Throughput = False,
    busy: _Busy = False,
    quick: _Quick = False,
    json: _Json = None,
    report: _Report = None,
) -> None:
    """Measure cold start, first click and next click, in turns with the stock function."""
    from benchmarks.clicks import Plan
    from iog.settings import available_cores

    settings = Settings.from_env()
    sizes = tuple(_size(text) for text in image_size.split(","))
    cores = settings.threads or available_cores()
    plan = Plan(sizes=sizes, rounds=rounds, cores=cores)
    if quick:
        plan = Plan(
            sizes=sizes,
            rounds=min(rounds, 3),
            warm_up=False,
            cold_starts=1,
            seconds=2,
            cores=cores,
        )
    asked = _Asked(
        models=model or [settings.model],
        engines=engine or [settings.engine],
        precisions=precision or [settings.precision],
        sweeps=sweeps,
        throughput=throughput,
        busy=busy,
        quick=quick,
    )
    _refuse_early(asked, json)
    run = _measure(settings, plan, asked)
    from benchmarks.report import tables, write_report
    from benchmarks.rows import as_json

    for table in tables(run):
        table.show()
    if json is not None:
        json.write_text(json_text.dumps(as_json(run.rows), indent=1) + "\n")
        typer.echo(f"Wrote {json}", err=True)
    if report is not None:
        from datetime import date

        typer.echo(f"Wrote {write_report(report, run, today=date.today())}", err=True)


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for, beside the plan."""

    models: list[str]
    engines: list[str]
    precisions: list[str]
    sweeps: bool
    throughput: bool
    busy: bool
    quick: bool


def _refuse_early(asked: _Asked, json: Path | None) -> None:
    """Refuse before minutes of measuring what would be refused after them.

    Raises:
        SettingsError: an engine or a precision is unknown.
    """
    for engine in asked.engines:
        Settings.from_env({"IOG_ENGINE": engine})
    for precision in asked.precisions:
        Settings.from_env({"IOG_PRECISION": precision})
    if json is not None and not json.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json.parent}.", param_hint="--json")


def _measure(settings: Settings, plan: Plan, asked: _Asked) -> Run:
    """Everything, one model after the other; for each, stock and all its engines in turns."""
    from rich.console import Console

    from benchmarks.bodies import Bodies
    from benchmarks.busy import measure_busy
    from benchmarks.clicks import measure_clicks, stock_contender
    from benchmarks.contenders import contenders_of
    from benchmarks.machine import described
    from benchmarks.report import Run
    from benchmarks.sweeps import measure_sweeps
    from benchmarks.throughput import measure_throughput
    from benchmarks.weights import stock_weights

    machine = described(cores=plan.cores)
    rows: list[Row] = []
    curves: dict[str, list[Curve]] = {}
    with TemporaryDirectory(prefix="iog-bench-") as name, Console(stderr=True).status("") as status:
        folder = Path(name)
        bodies = Bodies(folder)
        stock = stock_contender(folder / "stock.pth")
        stock_weights(folder / "stock.pth")
        for model in asked.models:
            ours = contenders_of(
                model,
                engines=asked.engines,
                precisions=asked.precisions,
                settings=settings,
                folder=folder,
            )
            found = measure_clicks([stock, *ours], plan, bodies, say=status.update)
            started = _started(found)
            # Stock took part in every turn, and its ratios are in all rows; it is shown once.
            rows += [row for row in found.rows if not rows or row.model != stock.model]
            if asked.throughput:
                first = next(row for row in found.rows if row.model == started[0].model)
                # As it turned out to be, where `auto` was asked for.
                chosen = replace(started[0], engine=first.engine, precision=first.precision)
                rows += measure_throughput(chosen, plan, bodies, say=status.update)
            if asked.busy and model == asked.models[0]:
                rows += measure_busy(started[0], plan, bodies, say=status.update)
            if asked.sweeps and not curves:
                rounds = 2 if asked.quick else 5
                label = f"{started[0].model}, {started[0].engine} {started[0].precision}"
                curves[label] = list(
                    measure_sweeps(
                        started[0], bodies, rounds=rounds, quick=asked.quick, say=status.update
                    )
                )
    return Run(rows, curves, machine)


def _started(found: Clicks) -> list[Contender]:
    """Ours that could be measured; the others are named.

    Raises:
        SettingsError: none could.
    """
    for contender, reason in found.refused.items():
        what = f"{contender.model}, {contender.engine} {contender.precision}"
        typer.echo(f"Left out: {what}: {reason}", err=True)
    started = [contender for contender in found.started if contender.stock is None]
    if not started:
        raise SettingsError("Nothing could be measured; the lines above say why.")
    return started


def _size(text: str) -> SizeWH:
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
