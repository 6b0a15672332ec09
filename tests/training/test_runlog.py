"""What a run leaves to look at survives what stopped it."""

from __future__ import annotations

from pathlib import Path

from iog.training.runlog import RunLog, plot, read_log


def row(step: int, **more: float) -> dict[str, float]:
    return {"step": step, "loss": 1.0 / step, "lr": 1e-3, "samples_per_s": 5.0, **more}


def test_a_run_that_goes_on_forgets_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write(row(step))
    again = RunLog(tmp_path, step=2)
    again.write(row(3, iou=0.5))
    assert [r["step"] for r in read_log(again.path)] == [1, 2, 3]
    assert "iou" in read_log(again.path)[-1]
    assert again.best() == 0.5


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    log.write(row(1))
    for rest in ("2,0.5e-", "2,"):
        whole = log.path.read_text()
        log.path.write_text(whole + rest)
        assert [r["step"] for r in read_log(log.path)] == [1]
        log.path.write_text(whole)


def test_a_run_without_validation_is_drawn_too(tmp_path: Path) -> None:
    assert plot([row(1), row(2)], tmp_path / "plot.png").stat().st_size > 1000
    assert plot([], tmp_path / "empty.png").exists()
    assert RunLog(tmp_path / "new", step=0).best() == -1.0
