"""Plots of an evaluation, and contact sheets for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, Point
from dataloaders.samples import Sample
from iog.overlay import draw
from iog.prompts import Prompt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from iog.evaluation.report import Result

__all__ = ["contact_sheet", "tile", "write_plots"]

SIDE = 200
"""Pixels of one picture; a tile has two, the prediction and the truth."""
CAPTION = 20
COLUMNS = 4
CONTEXT = 0.25
"""How much is shown around the box, as a fraction of its longer side."""
WHITE = 255
Picture = NDArray[np.uint8]
BINS = 20
GROUPS = 8
"""Groups of objects of like size, with as many objects each."""


def tile(sample: Sample, mask: NDArray[np.bool_], prompt: Prompt, *, caption: str) -> Picture:
    """The object's surroundings twice, with the mask and the prompts, and with the truth.

    Args:
        sample: the object.
        mask: bool [H, W], the prediction.
        prompt: drawn with the mask.
        caption: a line of ASCII text.

    Returns:
        uint8 [SIDE + CAPTION, 2 * SIDE, 3], RGB.
    """
    x0, y0, x1, y1 = _surroundings(prompt.box, sample.mask.shape)
    scale = SIDE / max(x1 - x0, y1 - y0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    # Scaled first and drawn on then, so that lines are as thin on small objects as on large ones.
    image = np.asarray(cv2.resize(sample.image[y0:y1, x0:x1], size), np.uint8)

    def place(point: Point) -> Point:
        return (point[0] - x0) * scale, (point[1] - y0) * scale

    def scaled(region: NDArray[np.bool_]) -> NDArray[np.uint8]:
        cut = region[y0:y1, x0:x1].astype(np.uint8)
        return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    found = draw(
        image,
        scaled(mask),
        boxes=[(*place(prompt.box[:2]), *place(prompt.box[2:]))],
        pos_points=[place(point) for point in prompt.pos_points],
        neg_points=[place(point) for point in prompt.neg_points],
    )
    out = np.full((SIDE + CAPTION, 2 * SIDE, 3), WHITE, np.uint8)
    for left, picture in ((0, found), (SIDE, draw(image, scaled(sample.mask)))):
        out[CAPTION : CAPTION + size[1], left : left + size[0]] = picture
    cv2.putText(
        out, caption, (2, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
    )
    return out


def contact_sheet(tiles: Sequence[Picture]) -> Picture:
    """Tiles in rows of ``COLUMNS``, on white: uint8 [H, W, 3], RGB."""
    blank = np.full_like(tiles[0], WHITE)
    missing = -len(tiles) % COLUMNS
    padded = [*tiles, *[blank] * missing] if len(tiles) > COLUMNS else list(tiles)
    width = min(len(padded), COLUMNS)
    rows = [np.hstack(padded[i : i + width]) for i in range(0, len(padded), width)]
    return np.vstack(rows)


def _surroundings(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    pad = max(4.0, CONTEXT * max(x2 - x1, y2 - y1))
    return (
        max(int(x1 - pad), 0),
        max(int(y1 - pad), 0),
        min(int(x2 + pad) + 1, shape[1]),
        min(int(y2 + pad) + 1, shape[0]),
    )


def write_plots(folder: Path, results: Sequence[Result], *, column: int) -> dict[str, str]:
    """Write the plots as PNG files.

    Args:
        folder: where to.
        results: at least one model's.
        column: of the IoUs, for the plots that show one.

    Returns:
        File names and what they show; none without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return {}
    at = results[0].at(column)
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
    places = np.arange(1, table.shape[1] + 1) / (1 if result.by_clicks else 10)
    axes.plot(places, table.mean(axis=0), "o-", color=colour, label=result.name)
    axes.set_xlabel("clicks" if result.by_clicks else "threshold")
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
