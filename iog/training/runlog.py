"""What a run leaves to look at: a CSV file, TensorBoard's files, and a plot at the end."""

from __future__ import annotations

import csv
import math
from pathlib import Path

COLUMNS = (
    "step", "loss", "lr", "samples_per_s", "iou", "share_over_85", "iou_clicks",
)  # fmt: skip
"""Of the CSV file; the last three are empty where the run did not validate."""
Row = dict[str, float]


class RunLog:
    """Writes one row at a time.

    Args:
        folder: the run's; ``log.csv`` and ``tensorboard/`` go there.
        step: where the run goes on; rows after it, of a run that was killed, are forgotten.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.path = folder / "log.csv"
        self._rows = [row for row in read_log(self.path) if row["step"] <= step]
        self._rewrite()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # it is a development requirement
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: Row) -> None:
        """Add a row to all files."""
        self._rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        if self._board is not None:
            for key, value in row.items():
                if key != "step":
                    self._board.add_scalar(key, value, int(row["step"]))
            self._board.flush()

    def best(self) -> float:
        """The best validation IoU so far, or -1."""
        return max((row["iou"] for row in self._rows if "iou" in row), default=-1.0)

    def close(self) -> Path | None:
        """Finish TensorBoard's files and draw ``log.png``; None without matplotlib."""
        if self._board is not None:
            self._board.close()
        try:
            return plot(self._rows, self.path.with_suffix(".png"))
        except ImportError:
            return None

    def _rewrite(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_suffix(".new")
        with staged.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self._rows)
        staged.replace(self.path)


def read_log(path: Path) -> list[Row]:
    """The rows of a run's CSV file, without the columns that are empty; none without a file."""
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({key: float(value) for key, value in row.items() if value})
            except ValueError:
                break  # the last line of a run that lost its disk or its power
    return [row for row in rows if "loss" in row]


def plot(rows: list[Row], path: Path) -> Path:
    """Draw loss and validation IoU against steps.

    Raises:
        ImportError: there is no matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    left = figure.add_subplot(xlabel="step", ylabel="loss", title="Training")
    losses = [(row["step"], row["loss"]) for row in rows if math.isfinite(row["loss"])]
    left.plot([s for s, _ in losses], [v for _, v in losses], color="C0", label="loss")
    right = left.twinx()
    right.set_ylabel("mean IoU on the validation objects")
    for number, (key, label) in enumerate(
        (("iou", "one click"), ("iou_clicks", "four clicks")), start=1
    ):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            right.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=label)
    left.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path)
    return path
