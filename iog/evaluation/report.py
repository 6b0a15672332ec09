"""What an evaluation leaves on disk: figures to compute with, and a page to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dataloaders.samples import Dataset
from iog.evaluation.contenders import Contender
from iog.evaluation.official import THRESHOLDS, OfficialProtocol
from iog.evaluation.protocol import ObjectScore, Scorer
from iog.evaluation.scores import BOUNDARY_TOLERANCE
from iog.evaluation.sheets import contact_sheet, tile
from iog.evaluation.tables import Result, figure_table, iou_table

__all__ = ["SHEETS", "best_column", "write_report", "write_sheets"]

SHEET_OBJECTS = 24
SHEETS = {"worst.jpg": "The worst objects", "random.jpg": "Random objects"}
"""Contact sheets of every model, in its folder."""


def best_column(result: Result) -> int:
    """The column that the report looks at: the first click, or the best threshold."""
    if result.columns[0] == "1 click":
        return 0
    return int(np.argmax(np.mean([score.ious for score in result.scores], axis=0)))


def write_sheets(
    folder: Path,
    objects: Dataset,
    scores: Mapping[int, ObjectScore],
    contender: Contender,
    scorer: Scorer,
    *,
    column: int,
) -> None:
    """Write the contact sheets: the worst objects first to last, and random ones, after one click.

    Args:
        folder: where to.
        objects: the data set.
        scores: by the object's number.
        contender: predicts the shown objects once more.
        scorer: the protocol.
        column: of the IoUs; the worst are worst there.
    """
    official = isinstance(scorer, OfficialProtocol)
    threshold = THRESHOLDS[column] if official else contender.threshold
    ranked = sorted(scores, key=lambda number: scores[number].ious[column])
    count = min(SHEET_OBJECTS, len(ranked))
    drawn = np.random.default_rng(0).choice(sorted(scores), count, replace=False)
    for name, numbers in zip(SHEETS, (ranked[:count], drawn.tolist()), strict=True):
        tiles = []
        for number in numbers:
            sample = objects[number]
            prompt = scorer.prompt(sample)
            mask = contender.segmenter.predict(sample.image, prompt) > threshold
            caption = f"{scores[number].ious[column]:.2f} {sample.category} {sample.image_id}"
            tiles.append(tile(sample, mask, prompt, caption=caption))
        _, data = cv2.imencode(".jpg", contact_sheet(tiles)[..., ::-1])
        (folder / name).write_bytes(data.tobytes())


def write_report(
    folder: Path,
    results: Sequence[Result],
    settings: Sequence[Mapping[str, Any]],
    plots: Mapping[str, str],
) -> None:
    """Write ``report.json`` and ``report.md``.

    Args:
        folder: where to; every model's contact sheets lie in a folder of its name within.
        results: one per model.
        settings: of each model's run.
        plots: file names in ``folder`` and what they show.
    """
    models = [
        {
            "name": result.name,
            "settings": dict(run),
            "columns": result.columns,
            "summaries": {name: asdict(summary) for name, summary in result.summaries.items()},
            "objects": [asdict(score) for score in result.scores],
        }
        for result, run in zip(results, settings, strict=True)
    ]
    (folder / "report.json").write_text(json.dumps({"models": models}, indent=1) + "\n")
    (folder / "report.md").write_text("\n\n".join(_page(results, settings, plots)) + "\n")


def _page(
    results: Sequence[Result], settings: Sequence[Mapping[str, Any]], plots: Mapping[str, str]
) -> list[str]:
    """The paragraphs of the page."""
    run = settings[0]
    clicks = results[0].columns[0] == "1 click"
    told = (
        f"`{run['data']}`, {_part(run)}: a box and a click inside the object, then "
        f"clicks on the largest error."
        if clicks
        else f"`{run['data']}`, {_part(run)}: the official protocol, IoU above each threshold."
    )
    means = iou_table(results)
    page = ["# Evaluation", told, f"{means.title}:", means.markdown()]
    figures = figure_table(results)
    if figures.rows:
        page += [
            figures.markdown(),
            f"Boundary F: boundaries match within {BOUNDARY_TOLERANCE:.1%} of the image's "
            "diagonal. Box off by n %: each side has a normal error with a standard deviation of "
            "n % of the box's width or height. Times: from the prompt to the mask, on the machine "
            "that ran this.",
        ]
    page += [f"## {title}\n\n![{title}]({name})" for name, title in plots.items()]
    for result in results:
        column = result.columns[best_column(result)]
        at = column if clicks else f"threshold {column}"
        for name, title in SHEETS.items():
            page.append(
                f"## {result.name}: {title.lower()}\n\nIoU ({at}), category, image; left the "
                f"mask with its box and click, right the truth.\n\n![{title}]({result.name}/{name})"
            )
    page.append("## Settings")
    page += [f"```json\n{json.dumps(run, indent=1)}\n```" for run in settings]
    return page


def _part(run: Mapping[str, Any]) -> str:
    """Which objects of the data set were scored."""
    part = f"split `{run['split']}`" if run["split"] else "all of it"
    return f"{part}, {run['hold_out']:.0%} held out" if run["hold_out"] else part
