"""Tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        title: stands above the table in the terminal, and is not part of its Markdown.
        head: the names of the columns.
        rows: as many cells each as ``head``.
        names: how many of the first columns name the row. They are aligned left in Markdown, the
            figures behind them right.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1

    def markdown(self) -> str:
        """The table in Markdown."""
        rule = ["---"] * self.names + ["---:"] * (len(self.head) - self.names)
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.head, rule, *self.rows))

    def show(self) -> None:
        """Print the table in the terminal."""
        from rich import box
        from rich.console import Console
        from rich.measure import Measurement
        from rich.table import Table as RichTable

        shown = RichTable(
            title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for number, head in enumerate(self.head):
            shown.add_column(head, no_wrap=True, justify="right" if number else "left")
        for row in self.rows:
            shown.add_row(*row)
        console = Console(highlight=False)
        # A line may run over the terminal's edge; a figure that is cut off there is of no use.
        natural = Measurement.get(console, console.options.update(width=1000), shown).maximum
        console.width = max(console.width, natural)
        console.print(shown)
