"""`iog evaluate`: what models and baselines score over a data set, by two protocols."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from iog.settings import Settings

if TYPE_CHECKING:
    from dataloaders.samples import Dataset
    from iog.evaluation.protocols import Scorer
    from iog.evaluation.report import Result
    from iog.evaluation.segmenters import Candidate

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:PATH",
            help="voc:ROOT, sbd:ROOT, voc+sbd:ROOT[,SBDROOT], coco:JSON,IMAGES, cvat-masks:DIR or "
            "masks:DIR_OR_TAR.",
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="The part of the data to score [default: val; of a CVAT export everything].",
            show_default=False,
        ),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            metavar="FRACTION",
            help="Only the photographs that `iog train` with the same hold_out was not trained on.",
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="First fetch what VOC or SBD lack in their folder.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Name or path of weights, or grabcut, box or ellipse; give it several times to "
            "compare [default: IOG_MODEL].",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="As of IOG_ENGINE [default: IOG_ENGINE].", show_default=False)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="As of IOG_PRECISION [default: IOG_PRECISION].", show_default=False),
    ] = None,
    protocol: Annotated[
        Literal["annotator", "official"],
        typer.Option(help="IoU after each click, or one click and nine thresholds."),
    ] = "annotator",
    clicks: Annotated[
        int, typer.Option(min=1, max=20, help="Clicks per object, the first one included.")
    ] = 4,
    jitter: Annotated[
        float,
        typer.Option(min=0, metavar="PX", help="Standard deviation of the box's sides, in pixels."),
    ] = 0.0,
    noc: Annotated[
        bool, typer.Option("--noc", help="Also count the clicks to IoU 0.85 and 0.90, up to 20.")
    ] = False,
    vary_box: Annotated[
        bool, typer.Option("--vary-box", help="Also score the box alone and careless boxes.")
    ] = False,
    mask_input: Annotated[
        bool,
        typer.Option(
            "--mask-input", help="Also correct the true mask, eroded, dilated and shifted by 10 %."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of --jitter, --vary-box and --mask-input.")
    ] = 0,
    legacy_stretch: Annotated[
        bool,
        typer.Option("--legacy-stretch", help="Official: threshold the saved images' grey levels."),
    ] = False,
    save_masks: Annotated[
        bool,
        typer.Option(
            "--save-masks", help="Official: write OUT/MODEL/run_0/Results/IMAGE-OBJECT.png."
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many objects only, spread over the data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write report.json, report.md, plots and contact sheets into this folder; the "
            "same command goes on where it was stopped.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Score models: a tight box and a click inside, then clicks on the largest error."""
    official = protocol == "official"
    _refuse(
        official,
        "annotator",
        jitter=bool(jitter),
        noc=noc,
        vary_box=vary_box,
        mask_input=mask_input,
    )
    _refuse(not official, "official", legacy_stretch=legacy_stretch, save_masks=save_masks)
    if save_masks and out is None:
        raise typer.BadParameter("it needs --out.", param_hint="--save-masks")

    from iog.evaluation.segmenters import BASELINES, candidate
    from iog.models.spec import resolve

    settings = Settings.from_env(_environment(engine, precision))
    names = model or [settings.model]
    for name in names:
        if name not in BASELINES:
            resolve(name, weights_dir=settings.weights_dir)

    # torch comes with some of this: a wrong name has been refused by now
    from dataloaders.readers import default_split, open_dataset
    from dataloaders.samples import hold_out as held_out
    from iog.evaluation.protocols import AnnotatorProtocol, OfficialProtocol

    if download:
        from iog.evaluation.downloads import complete

        complete(data)
    split = split or default_split(data)
    objects = open_dataset(data, split=split)
    if hold_out is not None:
        objects = held_out(objects, hold_out)[1]
    run = _Run(objects, out, {"data": data, "split": split, "hold_out": hold_out, "limit": limit})
    for name in names:
        it = candidate(settings.with_model(name))
        masks = out / it.name / "run_0" / "Results" if out is not None and save_masks else None
        scorer: Scorer = (
            OfficialProtocol(it.rule, legacy_stretch=legacy_stretch, masks=masks)
            if official
            else AnnotatorProtocol(
                threshold=it.threshold,
                clicks=clicks,
                jitter_px=jitter,
                count_clicks=noc,
                vary_box=vary_box,
                mask_input=mask_input,
                seed=seed,
            )
        )
        run.score(it, scorer)
    run.finish()


def _environment(engine: str | None, precision: str | None) -> dict[str, str]:
    given = {"IOG_ENGINE": engine, "IOG_PRECISION": precision}
    return {**os.environ, **{name: value for name, value in given.items() if value is not None}}


def _refuse(wrong: bool, protocol: str, **options: bool) -> None:
    """Refuse the options that are given, if they belong to another protocol."""
    for name, given in options.items():
        if wrong and given:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} belongs to --protocol {protocol}.")


class _Run:
    """One command: scores model after model, shows progress, ends with tables and the report.

    Args:
        objects: the data set.
        out: the report's folder, or ``None``.
        data: what was asked for of the data set, for the report.
    """

    def __init__(self, objects: Dataset, out: Path | None, data: dict[str, Any]) -> None:
        self._objects = objects
        self._out = out
        self._data = {**data, "objects": len(objects)}
        self._results: list[Result] = []
        self._settings: list[dict[str, Any]] = []

    def score(self, it: Candidate, scorer: Scorer) -> None:
        """Score one model."""
        from iog.evaluation.report import Result, best_column, write_sheets
        from iog.evaluation.run import ScoreFile, chosen, score_objects

        if any(result.name == it.name for result in self._results):
            raise typer.BadParameter(f"two models are called {it.name!r}.", param_hint="--model")
        limit = self._data["limit"]
        settings = {**self._data, "protocol": _described(scorer), **it.description}
        store = None if self._out is None else ScoreFile(self._out / it.name, settings)
        found = score_objects(it.segmenter, self._objects, scorer, limit=limit, store=store)
        total = len(chosen(len(self._objects), limit))
        with _progress() as bar:
            known = 0 if store is None else len(store.scores)  # these come first and take no time
            task = bar.add_task(it.name, total=total, completed=known)
            scores = []
            for score in found:
                scores.append(score)
                bar.update(task, completed=max(known, len(scores)))
        if store is not None:  # in the order of the data, so that models can be compared
            scores = [store.scores[number] for number in sorted(store.scores)]
        result = Result(it.name, scorer.columns, scores)
        if store is not None:
            write_sheets(
                store.path.parent,
                self._objects,
                store.scores,
                it,
                scorer,
                column=best_column(result),
            )
        self._results.append(result)
        self._settings.append(settings)

    def finish(self) -> None:
        """Show the tables and write the report."""
        from iog.evaluation.pictures import write_plots
        from iog.evaluation.report import (
            best_column,
            difference_table,
            figure_table,
            iou_table,
            write_report,
        )

        tables = iou_table, difference_table, figure_table
        for table in (make(self._results) for make in tables):
            if table.rows:
                table.show()
        if self._out is None:
            return
        column = best_column(self._results[0])
        plots = write_plots(self._out, self._results, column=column)
        if not plots:
            typer.echo("No plots without matplotlib, which is in requirements-dev.txt.", err=True)
        write_report(self._out, self._results, self._settings, plots)
        typer.echo(f"Wrote {self._out / 'report.md'} and report.json", err=True)


def _described(scorer: Scorer) -> dict[str, Any]:
    """The protocol's settings as JSON values; where masks lie does not matter."""
    values = asdict(scorer)  # type: ignore[call-overload]
    if "masks" in values:
        values["masks"] = values["masks"] is not None
    return {"name": type(scorer).__name__, **values}


def _progress() -> Any:  # noqa: ANN401 - rich is imported late
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, Rate(), TimeRemainingColumn(), console=Console(stderr=True))
