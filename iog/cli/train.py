"""`iog train`: train or fine-tune a network, or go on with a run that was stopped."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iog.errors import SettingsError
from iog.settings import Settings

if TYPE_CHECKING:
    from dataloaders.samples import Dataset
    from iog.training.config import TrainingConfig

__all__ = ["train"]


def train(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="A TOML file, or a name from `training/configs/`."),
    ],
    data: Annotated[
        str, typer.Option(metavar="FORMAT:PATH", help="The objects, as for `iog evaluate`.")
    ],
    split: Annotated[
        str | None,
        typer.Option(help="The part to learn from [default: train; of an export everything]."),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT:PATH", help="The objects to be judged by [default: as --data]."
        ),
    ] = None,
    val_split: Annotated[str, typer.Option(help="The part to be judged by.")] = "val",
    initial: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights to start from: a model, a checkpoint, or a backbone's from ImageNet.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="The run's folder; a run that lies there goes on.", file_okay=False),
    ] = Path("runs/train"),
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps of the whole run; more of them make a finished run longer."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.0, help="Passes over the data, instead.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples at once.")] = None,
    lr: Annotated[
        float | None,
        typer.Option(min=0, help="Learning rate; the backbone's keeps its ratio to it."),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.99, help="Fraction of the photographs kept to be judged by."),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16, or on CUDA fp16.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare examples.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=0, help="CPU threads; 0 takes all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting: crop.input_size=320."),
    ] = None,
) -> None:
    """Train a network, or go on with the run in --out."""
    epochs = 0.0 if steps and epochs is None else epochs
    flags: dict[str, Any] = {"steps": steps, "epochs": epochs, "batch": batch, "hold_out": hold_out}
    flags |= {"precision": precision, "seed": seed, "workers": workers, "threads": threads}
    from iog.models.spec import resolve
    from iog.training.config import TrainingConfig

    overrides = _settings(settings or []) | {k: v for k, v in flags.items() if v is not None}
    config = TrainingConfig.from_toml(recipe, **overrides)

    if initial is not None and not initial.endswith(".npz") and not Path(initial).is_file():
        resolve(initial, weights_dir=Settings.from_env().weights_dir)

    # torch comes with this: a wrong name has been refused by now
    from iog.training.initial import open_initial
    from iog.training.loop import BEST, export
    from iog.training.loop import train as run

    start = None
    if initial is not None:
        start = open_initial(initial, weights_dir=Settings.from_env().weights_dir)
    config = _with_rate(_completed(config, start), lr)
    learn, judge = _objects(data, split, validation, val_split, config)
    leads = os.environ.get("RANK", "0") == "0"  # the first of the processes that torchrun starts
    if leads:
        judged = "no validation" if judge is None else f"{len(judge)} to be judged by"
        typer.echo(f"{config.architecture}: {len(learn)} objects to learn from, {judged}", err=True)
    described = Path(data.partition(":")[2].partition(",")[0]).name
    with _progress(config.for_data(len(learn)).steps, shown=leads) as report:
        last = run(
            config,
            learn,
            judge,
            initial=start,
            out=out,
            device=device,
            described=described,
            report=report,
        )
    if leads:
        if not report.told:
            typer.echo(f"{out} was finished already; a larger --steps makes it longer.", err=True)
        final = export(last, out / f"{config.architecture}.pt")
        best = out / BEST
        typer.echo(f"Wrote {final}" + (f"; best by validation: {best}" if best.exists() else ""))


def _settings(given: list[str]) -> dict[str, Any]:
    """`--set` options as a nested table; what is no TOML value is taken as a string."""
    table: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE.", param_hint="--set")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        place = table
        *above, name = key.strip().split(".")
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(
                    f"{part} has two values, one of {key}.", param_hint="--set"
                )
        place[name] = parsed
    return table


def _completed(config: TrainingConfig, start: Any) -> TrainingConfig:  # noqa: ANN401 - imported late
    """Network, crop rule and threshold of the initial weights, if the recipe names none."""
    from iog.models.checkpoint import Checkpoint
    from networks import ARCHITECTURES

    if config.architecture:
        if config.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise SettingsError(f"architecture is {config.architecture!r}; known: {known}")
        return config
    if not isinstance(start, Checkpoint):
        raise SettingsError(
            "this recipe goes on from the weights of a whole network: give --initial, such as "
            "--initial iog-lite"
        )
    spec = start.spec
    return replace(config, architecture=spec.architecture, crop=spec.crop, threshold=spec.threshold)


def _with_rate(config: TrainingConfig, rate: float | None) -> TrainingConfig:
    if rate is None:
        return config
    ratio = config.lr_backbone / config.lr_decoder
    return replace(config, lr_decoder=rate, lr_backbone=rate * ratio)


def _objects(
    data: str, split: str | None, validation: str | None, val_split: str, config: TrainingConfig
) -> tuple[Dataset, Dataset | None]:
    """What to learn from and what to be judged by."""
    from dataloaders.readers import default_split, open_dataset
    from dataloaders.samples import hold_out

    exported = default_split(data) is None
    learn = open_dataset(data, split=split or (None if exported else "train"))
    if validation is not None:
        exported = default_split(validation) is None
        return learn, open_dataset(validation, split=None if exported else val_split)
    if config.hold_out:
        return hold_out(learn, config.hold_out)
    if exported or (data.startswith("coco:") and "{split}" not in data):
        return learn, None
    return learn, open_dataset(data, split=val_split)


@contextmanager
def _progress(steps: int, *, shown: bool) -> Iterator[Any]:
    """A bar while the block runs; yields what takes the reports of a training."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rate = TextColumn("{task.fields[rate]}")
    console = Console(stderr=True)
    bar = Progress(*columns, TimeRemainingColumn(), rate, console=console, disable=not shown)
    task = bar.add_task("training", total=steps, rate="")

    class Report:
        told = False

        def __call__(self, done: int, row: dict[str, float] | None) -> None:
            if not self.told and done > 1:  # the run went on from here
                bar.reset(task, completed=done)
            self.told = True
            bar.start()  # not sooner: what is refused at once draws no bar
            bar.update(task, completed=done)
            if row is not None:
                bar.update(task, rate=f"{row['samples_per_s']:.1f}/s")
                bar.console.print("  ".join(f"{k} {v:.4g}" for k, v in row.items()))

    try:
        yield Report()
    finally:
        if bar.live.is_started:
            bar.stop()
