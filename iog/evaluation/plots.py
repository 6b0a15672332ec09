"""Plots of an evaluation; the only place that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iog.evaluation.tables import Result

__all__ = ["write_plots"]

BINS = 20
GROUPS = 8
"""Groups of objects of like size, with as many objects each."""


def write_plots(folder: Path, results: Sequence[Result], *, column: int) -> dict[str, str]:
    """Write the plots as PNG files.

    Args:
        folder: where to.
        results: at least one model's.
        column: of the IoUs, for the plots that show one.

    Returns:
        File names and what they show.
    """
    at = results[0].columns[column]
    at = at if at == "1 click" else f"threshold {at}"
    figures = {
        "iou-mean.png": ("Mean IoU", _means),
        "iou-histogram.png": (f"Distribution of the IoU ({at})", _histogram),
        "iou-size.png": (f"IoU and the object's size ({at})", _sizes),
    }
    for name, (title, plot) in figures.items():
        figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
        axes = figure.add_subplot(title=title)
        for number, result in enumerate(results):
            plot(axes, result, column, f"C{number}")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(folder / name)
    return {name: title for name, (title, _) in figures.items()}


def _means(axes: Axes, result: Result, column: int, colour: str) -> None:
    table = np.array([score.ious for score in result.scores])
    clicks = result.columns[0] == "1 click"
    places = np.arange(1, table.shape[1] + 1) / (1 if clicks else 10)
    axes.plot(places, table.mean(axis=0), "o-", color=colour, label=result.name)
    axes.set_xlabel("clicks" if clicks else "threshold")
    axes.set_ylabel("mean IoU")
    axes.set_xticks(places)


def _histogram(axes: Axes, result: Result, column: int, colour: str) -> None:
    values = [score.ious[column] for score in result.scores]
    axes.hist(values, bins=BINS, range=(0, 1), histtype="step", color=colour, label=result.name)
    axes.set_xlabel("IoU")
    axes.set_ylabel("objects")


def _sizes(axes: Axes, result: Result, column: int, colour: str) -> None:
    """Every object as a dot, and the mean of each group of objects of like size."""
    side = np.sqrt([max(score.area, 1) for score in result.scores])
    values = np.array([score.ious[column] for score in result.scores])
    axes.plot(side, values, ".", color=colour, alpha=0.25, markersize=3)
    groups = np.array_split(np.argsort(side), min(GROUPS, len(side)))
    middles = [float(np.median(side[group])) for group in groups]
    means = [float(values[group].mean()) for group in groups]
    axes.plot(middles, means, "o-", color=colour, label=result.name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("square root of the object's area, pixels")
    axes.set_ylabel("IoU")
