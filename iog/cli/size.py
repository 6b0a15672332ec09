"""`iog size`: how many replicas a number of annotators needs."""

from __future__ import annotations

from typing import Annotated

import typer

from iog.errors import SettingsError

__all__ = ["size"]


def size(
    annotators: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100_000, help="At work at the same time; again for more rows."),
    ] = None,
    think: Annotated[
        float, typer.Option(min=0, help="Seconds from an answer to the next click, on average.")
    ] = 5.0,
    first: Annotated[
        float, typer.Option(min=0.0001, help="Seconds of a first click, as `iog bench` measures.")
    ] = 0.05,
    later: Annotated[
        float, typer.Option(min=0.0001, help="Seconds of a further click on the same object.")
    ] = 0.02,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks on an object, on average.")] = 3,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers of a replica, a core or more each.")
    ] = 1,
    within: Annotated[
        float, typer.Option(min=0.001, help="Seconds in which 95 % of the answers shall come.")
    ] = 1.0,
) -> None:
    """Forecast replicas, load and waiting times for 10, 100 and 1,000 annotators.

    The times of a click are those of iog-lite on one core of a server; measure yours.
    """
    from rich.console import Console
    from rich.table import Table

    from benchmarks.capacity import Load, replicas_for

    table = Table("annotators", "replicas", "busy", "mean", "95 % within", "requests/s", box=None)
    for people in annotators or [10, 100, 1000]:
        load = Load(people, think, first, later, clicks=clicks, workers=workers)
        try:
            found = replicas_for(load, within=within)
        except ValueError as error:
            raise SettingsError(f"No number of replicas will do: {error}.") from error
        table.add_row(
            f"{people:,}",
            f"{found.replicas:,}",
            f"{found.busy:.0%}",
            f"{found.mean:.2f} s",
            f"{found.p95:.2f} s",
            f"{found.throughput:.1f}",
        )
    Console(highlight=False, soft_wrap=True).print(table)
