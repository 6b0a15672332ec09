"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["show"]


class Table(Protocol):
    """Cells of text; the first column names the row."""

    @property
    def title(self) -> str: ...

    @property
    def head(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[str]]: ...


def show(table: Table) -> None:
    """Print a table; figures stand to the right."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable

    shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(table.head):
        shown.add_column(head, no_wrap=True, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*row)
    console = Console(highlight=False)
    # Figures cut off at the terminal's edge are worth less than lines that run over it.
    natural = Measurement.get(console, console.options.update(width=1000), shown).maximum
    console.width = max(console.width, natural)
    console.print(shown)
