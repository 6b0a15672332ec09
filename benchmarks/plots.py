"""Plots of a benchmark; the only place here that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.rows import Row
from benchmarks.sweeps import Curve

__all__ = ["plot_clicks", "plot_sweeps"]


def plot_clicks(path: Path, rows: Sequence[Row]) -> None:
    """Bars of first and next clicks, as shares of stock's, on the first image size."""
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
    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    panels = figure.subplots(2, 2).flat
    for axes, curve in zip(panels, curves, strict=False):
        at = [point.at for point in curve.points]
        lines = {
            "first click": [p.first_ms for p in curve.points],
            "next click": [p.next_ms for p in curve.points],
            "first, without network": [p.first_ms - p.network_ms for p in curve.points],
            "next, without network": [p.next_ms - p.next_network_ms for p in curve.points],
        }
        for number, (label, times) in enumerate(lines.items()):
            style = "o-" if number < 2 else "o--"
            axes.plot(at, times, style, color=f"C{number % 2}", label=label, markersize=3)
        axes.set_title(curve.name)
        axes.set_xlabel(curve.axis)
        axes.set_ylabel("ms")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path)
