"""Rows as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.busy import AS_IT_COMES, PASSIVE
from benchmarks.rows import STAGES, Row
from benchmarks.sweeps import Curve
from iog.tables import Table

__all__ = [
    "busy_table",
    "click_table",
    "stage_table",
    "sweep_table",
    "throughput_table",
]


def click_table(rows: Sequence[Row]) -> Table:
    """Cold start, first click and next click, with ratios to stock."""
    lines = []
    for subject, size, found in _grouped(rows):
        if "first_click" not in found:
            continue
        memory = found["first_click"].rss_mb
        lines.append(
            (
                *subject,
                size,
                *_time(found.get("cold_start")),
                *_time(found["first_click"]),
                *_time(found["next_click"]),
                "" if memory is None else f"{memory:.0f}",
            )
        )
    head = ("model", "engine", "image", "cold start", "ratio", "first click", "ratio")
    return Table(
        "Milliseconds from request to answer (median, 95th percentile), and ratio to stock",
        (*head, "next click", "ratio", "RSS MiB"),
        tuple(lines),
        names=3,
    )


def stage_table(rows: Sequence[Row], *, prefix: str, title: str) -> Table:
    """Milliseconds of each stage of one kind of click, and its share."""
    lines = []
    for subject, size, found in _grouped(rows):
        if prefix + STAGES[0] not in found:
            continue
        times = [found[prefix + stage].median_ms for stage in STAGES]
        total = sum(times) or 1.0
        cells = [f"{ms:.1f} ({ms / total:.0%})" for ms in times]
        rest = total - times[STAGES.index("network")]
        lines.append((*subject, size, *cells, f"{rest:.1f}"))
    head = ("model", "engine", "image", *STAGES, "all but network")
    return Table(title, head, tuple(lines), names=3)


def throughput_table(rows: Sequence[Row]) -> Table:
    """Answers in a second, and memory, by workers and threads."""
    lines = []
    for subject, size, found in _grouped(rows):
        for what, row in found.items():
            if what.startswith("throughput_"):
                memory = [row.rss_mb, row.pss_mb]
                sizes = ["" if mb is None else f"{mb:.0f}" for mb in memory]
                shape = what.removeprefix("throughput_").replace("x", " x ")
                lines.append((*subject, size, shape, f"{1e3 / row.median_ms:.2f}", *sizes))
    return Table(
        "First clicks in a second under `iog serve`, and memory of all its processes",
        ("model", "engine", "image", "workers x threads", "answers/s", "RSS MiB", "PSS MiB"),
        tuple(lines),
        names=3,
    )


def busy_table(rows: Sequence[Row]) -> Table:
    """Next clicks beside other programs, with and without ``OMP_WAIT_POLICY=PASSIVE``."""
    lines = []
    for subject, size, found in _grouped(rows):
        if PASSIVE in found:
            passive, spinning = found[PASSIVE], found[AS_IT_COMES]
            ratio = f"{passive.median_ms / spinning.median_ms:.2f}"
            lines.append((*subject, size, _time(passive)[0], _time(spinning)[0], ratio))
    return Table(
        "Next clicks while other programs keep every core busy, ms (median, 95th percentile)",
        ("model", "engine", "image", "OMP_WAIT_POLICY=PASSIVE", "unset", "ratio"),
        tuple(lines),
        names=3,
    )


def sweep_table(curves: Sequence[Curve]) -> Table:
    """What one more of each unit costs."""
    lines = []
    for curve in curves:
        slopes = curve.slopes()
        names = ("first_ms", "rest_ms", "next_ms", "next_rest_ms")
        ends = f"{curve.points[0].at:.3g} to {curve.points[-1].at:.3g}"
        lines.append((curve.name, curve.axis, ends, *(f"{slopes[name]:+.2f}" for name in names)))
    return Table(
        "Milliseconds for one more (slope)",
        ("of", "unit", "from", "first click", "without network", "next click", "without network"),
        tuple(lines),
        names=3,
    )


def _grouped(
    rows: Sequence[Row],
) -> list[tuple[tuple[str, str], str, dict[str, Row]]]:
    """Rows by subject and image size, in the order they came: by what they say."""
    groups: dict[tuple[tuple[str, str], str], dict[str, Row]] = {}
    for row in rows:
        model = f"{row.model} ({row.note})" if row.note else row.model
        key = (model, f"{row.engine} {row.precision}"), row.image_size
        groups.setdefault(key, {}).setdefault(row.what, row)
    return [(subject, size, found) for (subject, size), found in groups.items()]


def _time(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    ratio = "" if row.ratio_to_stock is None else f"{row.ratio_to_stock:.2f}"
    return f"{row.median_ms:.0f} ({row.p95_ms:.0f})", ratio
