"""`iog evaluate`: what an annotator gets from a model after each click, over a data set."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evaluation.protocol import ObjectScore, Summary

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
    split: Annotated[str, typer.Option(help="The part of the data to score.")] = "val",
    download: Annotated[
        bool, typer.Option("--download", help="First fetch what VOC or SBD lack in their folder.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
    ] = None,
    clicks: Annotated[
        int, typer.Option(min=1, max=20, help="Clicks per object, the first one included.")
    ] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Also write report.json into this folder.", file_okay=False)
    ] = None,
) -> None:
    """Score a model: a tight box and a click inside, then clicks on the largest error."""
    settings = Settings.from_env()
    if model is not None:
        settings = replace(settings, model=model)

    from rich.progress import track

    from dataloaders.readers import open_dataset
    from evaluation.annotation import AnnotatorProtocol
    from evaluation.protocol import by_subset
    from evaluation.run import score_objects
    from evaluation.segmenters import PredictorSegmenter
    from model_handler import ModelHandler

    if download:
        from evaluation.downloads import complete

        complete(data)
    objects = open_dataset(data, split=split)
    handler = ModelHandler(settings)
    scores = list(
        track(
            score_objects(
                PredictorSegmenter(handler.predictor),
                objects,
                AnnotatorProtocol(threshold=handler.threshold, clicks=clicks),
            ),
            total=len(objects),
            description=settings.model,
        )
    )
    summaries = by_subset(scores)
    _show(summaries)
    if out is not None:
        _write(out / "report.json", handler.describe(), summaries, scores)


def _show(summaries: Mapping[str, Summary]) -> None:
    from rich.console import Console
    from rich.table import Table

    from evaluation.protocol import GOOD

    most = len(summaries["all"].ious)
    heads = ["1 click", *(f"{n} clicks" for n in range(2, most + 1))]
    table = Table("set", "objects", *heads, f"over {GOOD} after 1 click", title="Mean IoU")
    for name, summary in summaries.items():
        means = (f"{value:.3f}" for value in summary.ious)
        table.add_row(name, str(summary.objects), *means, f"{summary.good:.0%}")
    Console(highlight=False).print(table)


def _write(
    path: Path,
    described: Mapping[str, object],
    summaries: Mapping[str, Summary],
    scores: list[ObjectScore],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "model": dict(described),
        "summaries": {name: asdict(summary) for name, summary in summaries.items()},
        "objects": [asdict(score) for score in scores],
    }
    path.write_text(json.dumps(report, indent=1) + "\n")
    typer.echo(f"Wrote {path}", err=True)
