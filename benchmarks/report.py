"""Rows, which are the JSON of `iog bench`, and the tables, plots and page made of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from iog.tables import Table

__all__ = [
    "AS_IT_COMES",
    "PASSIVE",
    "STAGES",
    "STOCK",
    "Curve",
    "Point",
    "Row",
    "Run",
    "described",
    "measured",
]

STOCK = "stock"
PASSIVE, AS_IT_COMES = "next_click_busy", "next_click_busy_spinning"
STAGES = ("parse", "open", "network", "paste", "write")
_ROOT = Path(__file__).parent.parent
_PACKAGES = ("torch", "openvino", "numpy", "opencv-python-headless")
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_READING = """\
Each time is that of one request, from its JSON to the text of the answer, without the network
between client and server. *First click*: nothing about the image is cached; *next click*: one more
click on the same box. All subjects of a model took turns with *stock*, a plain rendering of
CVAT's own IOG function (`benchmarks/stock.py`), and ratios are to that. Where weights are random
the times are those of real ones, for a mask of almost the whole crop.
"""


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        model: its name, or ``stock``.
        engine: what ran the network.
        precision: the arithmetic it ran in.
        image_size: width and height, such as ``1920x1080``.
        what: ``cold_start``, ``first_click``, ``next_click``, a stage of the first click (such as
            ``open``) or of the next (``next_open``), ``throughput_WxT`` for W workers of T
            threads, where a time is that between two answers, or ``next_click_busy`` and
            ``next_click_busy_spinning`` beside other programs.
        median_ms: median of the runs.
        p95_ms: 95th percentile of the runs; with few runs the slowest.
        ratio_to_stock: median over stock's of the same run; None where there is none.
        rss_mb: resident memory of the process after its clicks, of a whole `iog serve` for
            throughput; None where the system does not tell.
        pss_mb: the same, with what processes share divided among them.
        runs: how many runs there were.
        note: what else must be known, such as that the weights are random.
    """

    model: str
    engine: str
    precision: str
    image_size: str
    what: str
    median_ms: float
    p95_ms: float
    ratio_to_stock: float | None
    rss_mb: float | None
    pss_mb: float | None = None
    runs: int = 1
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One request, answered as a first and as a next click: medians in milliseconds.

    Attributes:
        at: where on the axis.
        first_ms: a first click.
        next_ms: a next click on the same box.
        network_ms: of the first click, the network's part.
        next_network_ms: of the next click, likewise.
    """

    at: float
    first_ms: float
    next_ms: float
    network_ms: float
    next_network_ms: float


@dataclass(frozen=True)
class Curve:
    """The points of one sweep; ``axis`` names what grows, with its unit."""

    name: str
    axis: str
    points: tuple[Point, ...]

    def times(self) -> dict[str, list[float]]:
        """Of every point: whole clicks, and what of them is not the network."""
        return {
            "first click": [p.first_ms for p in self.points],
            "without network": [p.first_ms - p.network_ms for p in self.points],
            "next click": [p.next_ms for p in self.points],
            "next, without network": [p.next_ms - p.next_network_ms for p in self.points],
        }

    def slopes(self) -> dict[str, float]:
        """Milliseconds that one more unit of the axis costs, of each of the times.

        A slope is that of the straight line with the least squared distances.
        """
        at = [point.at for point in self.points]
        if len(set(at)) < 2:
            return dict.fromkeys(self.times(), 0.0)
        fits = {name: np.polyfit(at, times, 1)[0] for name, times in self.times().items()}
        return {name: round(float(slope), 3) for name, slope in fits.items()}


def measured(
    times: Sequence[float],
    *,
    stock: Sequence[float] | None,
    **fields: Any,  # noqa: ANN401
) -> Row:
    """A row from the milliseconds of its runs.

    Args:
        times: at least one.
        stock: those of stock; None or empty where it was not measured.
        fields: the other fields of the row.
    """
    median = float(np.median(times))
    reference = float(np.median(stock)) if stock else 0.0
    return Row(
        median_ms=round(median, 2),
        p95_ms=round(float(np.quantile(times, 0.95, method="higher")), 2),
        # Stock never opens at a smaller size or keeps anything: none of its stages takes nothing.
        ratio_to_stock=round(median / reference, 4) if reference else None,
        runs=len(times),
        **fields,
    )


def click_table(rows: Sequence[Row]) -> Table:
    """Cold start, first click and next click, with ratios to stock."""
    lines = []
    for subject, found in _grouped(rows):
        if "first_click" in found:
            times = (found.get(what) for what in ("cold_start", "first_click", "next_click"))
            cells = (cell for row in times for cell in _time(row))
            lines.append((*subject, *cells, _mebibytes(found["first_click"].rss_mb)))
    title = "Milliseconds from request to answer (median, 95th percentile), and ratio to stock"
    head = ("cold start", "ratio", "first click", "ratio", "next click", "ratio", "RSS MiB")
    return _table(title, head, lines)


def stage_table(rows: Sequence[Row], *, prefix: str, title: str) -> Table:
    """Milliseconds of each stage of one kind of click, and its fraction."""
    lines = []
    for subject, found in _grouped(rows):
        if prefix + STAGES[0] in found:
            times = [found[prefix + stage].median_ms for stage in STAGES]
            total = sum(times) or 1.0
            cells = [f"{ms:.1f} ({ms / total:.0%})" for ms in times]
            rest = total - times[STAGES.index("network")]
            lines.append((*subject, *cells, f"{rest:.1f}"))
    return _table(title, (*STAGES, "all but network"), lines)


def throughput_table(rows: Sequence[Row]) -> Table:
    """Answers in a second, and memory, by workers and threads."""
    lines = []
    for subject, found in _grouped(rows):
        for what, row in found.items():
            if what.startswith("throughput_"):
                sizes = _mebibytes(row.rss_mb), _mebibytes(row.pss_mb)
                shape = what.removeprefix("throughput_").replace("x", " x ")
                lines.append((*subject, shape, f"{1e3 / row.median_ms:.2f}", *sizes))
    title = "First clicks in a second under `iog serve`, and memory of all its processes"
    return _table(title, ("workers x threads", "answers/s", "RSS MiB", "PSS MiB"), lines)


def busy_table(rows: Sequence[Row]) -> Table:
    """Next clicks beside other programs, with and without ``OMP_WAIT_POLICY=PASSIVE``."""
    lines = []
    for subject, found in _grouped(rows):
        if PASSIVE in found:
            passive, spinning = found[PASSIVE], found[AS_IT_COMES]
            ratio = f"{passive.median_ms / spinning.median_ms:.2f}"
            lines.append((*subject, _time(passive)[0], _time(spinning)[0], ratio))
    title = "Next clicks while other programs keep every core busy, ms (median, 95th percentile)"
    return _table(title, ("OMP_WAIT_POLICY=PASSIVE", "unset", "ratio"), lines)


def sweep_table(curves: Sequence[Curve]) -> Table:
    """What one more of each unit costs."""
    lines = []
    for curve in curves:
        ends = f"{curve.points[0].at:.3g} to {curve.points[-1].at:.3g}"
        lines.append(
            (curve.name, curve.axis, ends, *(f"{v:+.2f}" for v in curve.slopes().values()))
        )
    return Table(
        "Milliseconds for one more (slope)",
        ("of", "unit", "from", "first click", "without network", "next click", "without network"),
        tuple(lines),
        names=3,
    )


def _table(title: str, head: Sequence[str], lines: Sequence[tuple[str, ...]]) -> Table:
    return Table(title, ("model", "engine", "image", *head), tuple(lines), names=3)


def _grouped(rows: Sequence[Row]) -> Iterable[tuple[tuple[str, str, str], dict[str, Row]]]:
    """Rows by model, engine and image size, in the order they came: by what they say."""
    groups: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        model = f"{row.model} ({row.note})" if row.note else row.model
        key = model, f"{row.engine} {row.precision}", row.image_size
        groups.setdefault(key, {}).setdefault(row.what, row)
    return groups.items()


def _time(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    ratio = "" if row.ratio_to_stock is None else f"{row.ratio_to_stock:.2f}"
    return f"{row.median_ms:.0f} ({row.p95_ms:.0f})", ratio


def _mebibytes(size: float | None) -> str:
    return "" if size is None else f"{size:.0f}"


def cpu() -> str:
    """The processor's name."""
    found = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def described(*, cores: int) -> dict[str, str]:
    """Hardware, software and commit by their names; without them a figure says nothing.

    Args:
        cores: that the run may use.
    """
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    flags = set(re.search(r"^flags.*$|$", _read("/proc/cpuinfo"), re.M)[0].split())  # type: ignore[index]
    memory = re.search(r"^MemTotal: *(\d+) kB", _read("/proc/meminfo"), re.M)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return {
        "processor": f"{cpu()}, {cores} cores",
        "instructions": ", ".join(name for name in _INSTRUCTIONS if name in flags) or "not told",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "not told",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(versions),
        "commit": commit.strip() or "not told",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _read(path: str) -> str:
    """A file of /proc; nothing where the system has none."""
    return Path(path).read_text() if Path(path).is_file() else ""


def plot_clicks(path: Path, rows: Sequence[Row]) -> None:
    """Bars of first and next clicks, as fractions of stock's, on the first image size."""
    from matplotlib.figure import Figure

    size = rows[0].image_size
    bars = [
        (f"{row.model}\n{row.engine} {row.precision}", row.what, row.ratio_to_stock)
        for row in rows
        if row.image_size == size
        and row.what in ("first_click", "next_click")
        and row.ratio_to_stock is not None
    ]
    names = list(dict.fromkeys(name for name, _, _ in bars))
    figure = Figure(figsize=(8, 0.7 + 0.55 * len(names)), dpi=120, layout="constrained")
    axes = figure.add_subplot(title=f"Time from request to answer, stock = 1 ({size})")
    for offset, what, label in ((-0.2, "first_click", "first click"), (0.2, "next_click", "next")):
        ratios = {name: ratio for name, kind, ratio in bars if kind == what}
        places = [names.index(name) + offset for name in ratios]
        drawn = axes.barh(places, list(ratios.values()), height=0.38, label=label)
        axes.bar_label(drawn, fmt="%.3f", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend()
    figure.savefig(path)


def plot_sweeps(path: Path, curves: Sequence[Curve]) -> None:
    """One panel for each curve: whole clicks, and what of them is not the network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    panels = figure.subplots(2, 2).flat
    for axes, curve in zip(panels, curves, strict=False):
        at = [point.at for point in curve.points]
        for number, (label, times) in enumerate(curve.times().items()):
            style, colour = "o--" if number % 2 else "o-", f"C{number // 2}"
            axes.plot(at, times, style, color=colour, label=label, markersize=3)
        axes.set_title(curve.name)
        axes.set_xlabel(curve.axis)
        axes.set_ylabel("ms")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path)


@dataclass(frozen=True)
class Run:
    """All that was measured, and on what."""

    rows: list[Row]
    curves: dict[str, list[Curve]]
    """By the name of the subject."""
    machine: Mapping[str, str]

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as JSON values."""
        return [asdict(row) for row in self.rows]

    def tables(self) -> list[Table]:
        """All tables that have rows."""
        rows = self.rows
        found = [
            click_table(rows),
            stage_table(rows, prefix="", title="Stages of a first click, ms and fraction"),
            stage_table(rows, prefix="next_", title="Stages of a next click, ms and fraction"),
            throughput_table(rows),
            busy_table(rows),
        ]
        for name, curves in self.curves.items():
            table = sweep_table(curves)
            found.append(replace(table, title=f"{table.title}, {name}"))
        return [table for table in found if table.rows]

    def write(self, folder: Path, *, today: date) -> Path:
        """Write ``<date>-<cpu>.md`` with its JSON and plots beside it.

        Args:
            folder: where to; it is made.
            today: for the name.

        Returns:
            The Markdown file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{today.isoformat()}-{slug(cpu())}"
        content = {
            "machine": dict(self.machine),
            "rows": self.as_json(),
            "sweeps": {name: [asdict(c) for c in curves] for name, curves in self.curves.items()},
        }
        (folder / f"{stem}.json").write_text(json.dumps(content, indent=1) + "\n")
        parts = [f"# Benchmark of {today.isoformat()}", _READING]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.machine.items()))
        parts += [f"## {table.title}\n\n{table.markdown()}" for table in self.tables()]
        parts += self._plots(folder, stem)
        path = folder / f"{stem}.md"
        path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
        return path

    def _plots(self, folder: Path, stem: str) -> list[str]:
        """Links to the plots; none without matplotlib."""
        if importlib.util.find_spec("matplotlib") is None:
            return []
        plot_clicks(folder / f"{stem}-clicks.png", self.rows)
        links = [f"![First and next clicks as fractions of stock's]({stem}-clicks.png)"]
        for name, curves in self.curves.items():
            file = f"{stem}-{slug(name)}.png"
            plot_sweeps(folder / file, curves)
            links.append(f"![Cost of a click against what should not matter: {name}]({file})")
        return links
