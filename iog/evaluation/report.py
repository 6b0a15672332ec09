"""The tables of an evaluation, and the report that it leaves on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dataloaders.samples import Dataset
from iog.evaluation.pictures import contact_sheet, tile
from iog.evaluation.protocols import (
    BOX_ONLY_JITTER,
    DAMAGE,
    DAMAGES,
    JITTERS,
    MOST_CLICKS,
    TARGETS,
    THRESHOLDS,
    OfficialProtocol,
    Scorer,
)
from iog.evaluation.scores import (
    BOUNDARY_TOLERANCE,
    GOOD,
    SIZES,
    Latency,
    ObjectScore,
    Summary,
    by_subset,
    differences,
    groups_of,
    over_subsets,
)
from iog.evaluation.segmenters import Candidate
from iog.tables import Table

__all__ = [
    "SHEETS",
    "Result",
    "best_column",
    "difference_table",
    "figure_table",
    "iou_table",
    "write_report",
    "write_sheets",
]

MOST_COLUMNS = 9
SHEET_OBJECTS = 24
SHEETS = {"worst.jpg": "The worst objects", "random.jpg": "Random objects"}
"""Contact sheets of every model, in its folder."""


@dataclass(frozen=True)
class Result:
    """What one model got."""

    name: str
    columns: tuple[str, ...]
    """What the IoUs belong to: clicks or thresholds."""
    scores: Sequence[ObjectScore]

    @property
    def by_clicks(self) -> bool:
        """Whether the columns are clicks."""
        return self.columns[0] == "1 click"

    def at(self, column: int) -> str:
        """What a column belongs to: ``2 clicks`` or ``threshold 0.5``."""
        return self.columns[column] if self.by_clicks else f"threshold {self.columns[column]}"

    @property
    def summaries(self) -> dict[str, Summary]:
        """By part of the data set; see ``by_subset``."""
        return by_subset(self.scores)


def iou_table(results: Sequence[Result]) -> Table:
    """Mean IoU of every model on every part of the data set and on objects of every size."""
    columns = results[0].columns
    shown = _shown(len(columns))
    clicks = results[0].by_clicks
    rows = []
    for result in results:
        for part, summary in _parts(result.scores).items():
            means = [_with_error(summary.ious[i], summary.errors[i]) for i in shown]
            good = [_percent(summary.good, summary.good_error)] if clicks else []
            rows.append((result.name, part, str(summary.objects), *means, *good))
    last = (f"over {GOOD}",) if clicks else ()
    heads = ("model", "set", "objects", *(columns[i] for i in shown), *last)
    title = (
        f"Mean IoU, and the fraction of objects over {GOOD} after 1 click"
        if clicks
        else "Mean IoU above each threshold"
    )
    return Table(f"{title} (± standard error)", heads, tuple(rows))


def difference_table(results: Sequence[Result]) -> Table:
    """How much better every further model is than the first one, object by object."""
    first, *others = results
    shown = _shown(len(first.columns))
    rows = []
    for other in others:
        compared = differences(other.scores, first.scores)
        for part, summary in _parts(compared).items():
            means = [_with_error(summary.ious[i], summary.errors[i], sign="+") for i in shown]
            good = ["-"]
            if "good" in summary.figures:
                good = [_percent(summary.figures["good"], summary.figure_errors["good"], sign="+")]
            if not first.by_clicks:
                good = []
            rows.append((other.name, part, str(summary.objects), *means, *good))
    last = (f"over {GOOD}",) if first.by_clicks else ()
    heads = ("model", "set", "objects", *(first.columns[i] for i in shown), *last)
    title = f"Difference from {first.name}, object by object (± standard error)"
    return Table(title, heads, tuple(rows))


def _parts(scores: Sequence[ObjectScore]) -> dict[str, Summary]:
    """Summaries of each part of the data, of objects of each size, of the parts, and of all."""
    groups = groups_of(scores)
    whole = groups.pop("all")
    sets = {name: Summary.of(group) for name, group in groups.items()} if len(groups) > 1 else {}
    sizes = {
        size: [score for score in whole if low <= score.area < high]
        for size, (low, high) in SIZES.items()
    }
    if sum(bool(group) for group in sizes.values()) < 2:
        sizes = {}
    found = {**sets, **{name: Summary.of(group) for name, group in sizes.items() if group}}
    if sets:
        found["mean of sets"] = over_subsets(list(sets.values()))
    return {**found, "all": Summary.of(whole)}


def _with_error(value: float, error: float, *, sign: str = "") -> str:
    mean = f"{value:{sign}.3f}"
    return mean if math.isnan(error) else f"{mean} ± {error:.3f}"


def _percent(value: float, error: float, *, sign: str = "") -> str:
    mean = f"{value:{sign}.0%}"
    return mean if math.isnan(error) else f"{mean} ± {error:.0%}"


def figure_table(results: Sequence[Result]) -> Table:
    """Further scores and times over all objects; a column for each model."""
    names = {
        "boundary_f": "boundary F after 1 click",
        **{f"noc_{t}": f"clicks to IoU 0.{t}, at most {MOST_CLICKS}" for t in TARGETS},
        "box_only": "IoU of the box alone",
        f"box_only_{BOX_ONLY_JITTER}": f"IoU of the box alone, off by {BOX_ONLY_JITTER} %",
        **{f"jitter_{p}": f"IoU after 1 click, box off by {p} %" for p in JITTERS},
        **{
            f"{kind}_{key}": f"mask {kind} by {DAMAGE:.0%}: {name}"
            for kind in DAMAGES
            for key, name in (
                ("before", "IoU before"),
                ("after", "IoU after a click"),
                ("rises", "fraction that rises"),
            )
        },
        "rises": "mask_input: fraction of all cases that rises",
    }
    summaries = [Summary.of(result.scores) for result in results]
    rows = [
        (name, *(_number(summary, key) for summary in summaries)) for key, name in names.items()
    ]
    times = (
        ("first", [s.first_click for s in summaries]),
        ("next", [s.next_click for s in summaries]),
    )
    for name, latencies in times:
        rows.append((f"{name} click, ms, median / 95 %", *map(_latency, latencies)))
    filled = (row for row in rows if any(cell != "-" for cell in row[1:]))
    return Table("All objects", ("", *(result.name for result in results)), tuple(filled))


def _shown(columns: int) -> list[int]:
    """All columns, or of very many clicks some."""
    if columns <= MOST_COLUMNS:
        return list(range(columns))
    return [i for i in (0, 1, 2, 3, 4, 9, 14) if i < columns - 1] + [columns - 1]


def _number(summary: Summary, key: str) -> str:
    if key not in summary.figures:
        return "-"
    value, error = summary.figures[key], summary.figure_errors[key]
    if not key.startswith("noc"):
        return _with_error(value, error)
    return f"{value:.2f}" if math.isnan(error) else f"{value:.2f} ± {error:.2f}"


def _latency(latency: Latency | None) -> str:
    return "-" if latency is None else f"{latency.median:.0f} / {latency.p95:.0f}"


def best_column(result: Result) -> int:
    """The column that the report looks at: the first click, or the best threshold."""
    if result.by_clicks:
        return 0
    return int(np.argmax(np.mean([score.ious for score in result.scores], axis=0)))


def write_sheets(
    folder: Path,
    objects: Dataset,
    scores: Mapping[int, ObjectScore],
    candidate: Candidate,
    scorer: Scorer,
    *,
    column: int,
) -> None:
    """Write the contact sheets: the worst objects first to last, and random ones, after one click.

    Args:
        folder: where to.
        objects: the data set.
        scores: by the object's number.
        candidate: predicts the shown objects once more.
        scorer: the protocol.
        column: of the IoUs; the worst are worst there.
    """
    official = isinstance(scorer, OfficialProtocol)
    threshold = THRESHOLDS[column] if official else candidate.threshold
    ranked = sorted(scores, key=lambda number: scores[number].ious[column])
    count = min(SHEET_OBJECTS, len(ranked))
    drawn = np.random.default_rng(0).choice(sorted(scores), count, replace=False)
    for name, numbers in zip(SHEETS, (ranked[:count], drawn.tolist()), strict=True):
        tiles = []
        for number in numbers:
            sample = objects[number]
            prompt = scorer.prompt(sample)
            mask = candidate.segmenter.predict(sample.image, prompt) > threshold
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
    protocol = (
        "a box and a click inside the object, then clicks on the largest error."
        if results[0].by_clicks
        else "the official protocol, IoU above each threshold."
    )
    means = iou_table(results)
    page = ["# Evaluation", f"`{run['data']}`, {_part(run)}: {protocol}"]
    page += [f"{means.title}:", means.markdown()]
    if len(results) > 1:
        compared = difference_table(results)
        page += [f"{compared.title}:", compared.markdown()]
    figures = figure_table(results)
    if figures.rows:
        page += [
            figures.markdown(),
            f"Boundary F: boundaries match within {BOUNDARY_TOLERANCE:.1%} of the image's "
            "diagonal. Box off by n %: each side has a normal error with a standard deviation of "
            "n % of the box's width or height. Times: from the prompt to the mask, on the machine "
            "that ran this. Standard errors take the objects of one photograph as dependent.",
        ]
    page += [f"## {title}\n\n![{title}]({name})" for name, title in plots.items()]
    for result in results:
        at = result.at(best_column(result))
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
