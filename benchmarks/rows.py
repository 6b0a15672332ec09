"""The results as rows, which are the JSON of `iog bench` and what every table is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["STAGES", "STOCK", "Row", "as_json", "measured"]

STOCK = "stock"
STAGES = ("parse", "open", "network", "paste", "write")


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
            ``next_click_busy_spinning`` beside other programs (see `benchmarks.busy`).
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
        # Stock never decodes to a smaller size or keeps anything: none of its stages takes nothing.
        ratio_to_stock=round(median / reference, 4) if reference else None,
        runs=len(times),
        **fields,
    )


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as JSON values."""
    return [asdict(row) for row in rows]
