"""The tables of an evaluation, as plain text cells for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iog.evaluation.annotation import JITTERS, MOST_CLICKS, TARGETS
from iog.evaluation.protocol import GOOD, Latency, ObjectScore, Summary, by_subset
from iog.tables import Table

__all__ = ["Result", "figure_table", "iou_table"]

MOST_COLUMNS = 9


@dataclass(frozen=True)
class Result:
    """What one model got."""

    name: str
    columns: tuple[str, ...]
    """What the IoUs belong to: clicks or thresholds."""
    scores: Sequence[ObjectScore]

    @property
    def summaries(self) -> dict[str, Summary]:
        """By part of the data set; see ``by_subset``."""
        return by_subset(self.scores)


def iou_table(results: Sequence[Result]) -> Table:
    """Mean IoU of every model on every part of the data set."""
    columns = results[0].columns
    shown = _shown(len(columns))
    clicks = columns[0] == "1 click"
    rows = []
    for result in results:
        summaries = result.summaries
        if len(summaries) == 2:  # one part and all of it are the same
            summaries = {"all": summaries["all"]}
        for subset, summary in summaries.items():
            means = [f"{summary.ious[i]:.3f}" for i in shown]
            good = [f"{summary.good:.0%}"] if clicks else []
            rows.append((result.name, subset, str(summary.objects), *means, *good))
    last = (f"over {GOOD}",) if clicks else ()
    heads = ("model", "set", "objects", *(columns[i] for i in shown), *last)
    title = (
        f"Mean IoU, and the share of objects over {GOOD} after 1 click"
        if clicks
        else "Mean IoU above each threshold"
    )
    return Table(title, heads, tuple(rows))


def figure_table(results: Sequence[Result]) -> Table:
    """Further scores and times over all objects; a column for each model."""
    names = {
        "boundary_f": "boundary F after 1 click",
        **{
            f"noc_{target}": f"clicks to IoU 0.{target}, at most {MOST_CLICKS}"
            for target in TARGETS
        },
        "box_only": "IoU of the box alone",
        **{f"jitter_{p}": f"IoU after 1 click, box off by {p} %" for p in JITTERS},
    }
    summaries = [Summary.of(result.scores) for result in results]
    rows = [
        (name, *(_number(summary.figures.get(key), key) for summary in summaries))
        for key, name in names.items()
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


def _number(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if key.startswith("noc") else f"{value:.3f}"


def _latency(latency: Latency | None) -> str:
    return "-" if latency is None else f"{latency.median:.0f} / {latency.p95:.0f}"
