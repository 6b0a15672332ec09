"""A run as a Markdown file, with what it was measured on, its tables and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.machine import cpu, slug
from benchmarks.rows import Row, as_json
from benchmarks.sweeps import Curve
from benchmarks.tables import (
    busy_table,
    click_table,
    stage_table,
    sweep_table,
    throughput_table,
)
from iog.tables import Table

__all__ = ["Run", "tables", "write_report"]

_READING = """\
Each time is that of one request, from its JSON to the text of the answer, without the network
between client and server. *First click*: nothing about the image is cached; *next click*: one more
click on the same box. All contenders of a model took turns with *stock*, a plain rendering of
CVAT's own IOG function (`benchmarks/stock.py`), and ratios are to that. Where weights are random
the times are those of real ones, for a mask of almost the whole crop.
"""


@dataclass(frozen=True)
class Run:
    """All that was measured, and on what."""

    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Curve]]
    """By the name of the contender."""
    machine: Mapping[str, str]


def tables(run: Run) -> list[Table]:
    """All tables of a run that have rows."""
    found = [
        click_table(run.rows),
        stage_table(run.rows, prefix="", title="Stages of a first click, ms and share"),
        stage_table(run.rows, prefix="next_", title="Stages of a next click, ms and share"),
        throughput_table(run.rows),
        busy_table(run.rows),
        *(_titled(sweep_table(curves), name) for name, curves in run.curves.items()),
    ]
    return [table for table in found if table.rows]


def write_report(folder: Path, run: Run, *, today: date) -> Path:
    """Write ``<date>-<cpu>.md`` with its JSON and plots beside it.

    Args:
        folder: where to; it is made.
        run: what to write.
        today: for the name.

    Returns:
        The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{today.isoformat()}-{slug(cpu())}"
    content = {
        "machine": dict(run.machine),
        "rows": as_json(run.rows),
        "sweeps": {name: [asdict(c) for c in curves] for name, curves in run.curves.items()},
    }
    (folder / f"{stem}.json").write_text(json.dumps(content, indent=1) + "\n")
    pictures = _plots(folder, stem, run)
    parts = [f"# Benchmark of {today.isoformat()}", _READING]
    parts.append("\n".join(f"- {name}: {value}" for name, value in run.machine.items()))
    parts += [f"## {table.title}\n\n{table.markdown()}" for table in tables(run)]
    parts += [f"![{title}]({name})" for name, title in pictures.items()]
    path = folder / f"{stem}.md"
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
    return path


def _plots(folder: Path, stem: str, run: Run) -> dict[str, str]:
    """File names and what they show; none without matplotlib."""
    try:
        from benchmarks.plots import plot_clicks, plot_sweeps
    except ImportError:
        return {}
    pictures = {}
    if run.rows:
        pictures[f"{stem}-clicks.png"] = "First and next clicks as shares of stock's"
        plot_clicks(folder / f"{stem}-clicks.png", run.rows)
    for name, curves in run.curves.items():
        file = f"{stem}-{slug(name)}.png"
        pictures[file] = f"Cost of a click against what should not matter: {name}"
        plot_sweeps(folder / file, curves)
    return pictures


def _titled(table: Table, name: str) -> Table:
    return replace(table, title=f"{table.title}, {name}")
