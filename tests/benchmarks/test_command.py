from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iog.cli import app
from tests.random_weights import write_random_lite


@pytest.mark.parametrize("busy", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_run_compares_with_stock(
    busy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_random_lite(tmp_path / "mine.pt")
    monkeypatch.setenv("IOG_THREADS", "1")
    monkeypatch.setenv("IOG_DEVICE", "cpu")
    arguments = ["bench", "--model", str(weights), "--engine", "torch", "--image-size", "96x64"]
    options = ["--quick", "--rounds", "1", "--json", str(tmp_path / "rows.json")]
    options += ["--busy"] if busy else []
    done = CliRunner().invoke(app, [*arguments, *options, "--report", str(tmp_path / "results")])
    assert done.exit_code == 0, done.output
    assert "first click" in done.output
    rows = json.loads((tmp_path / "rows.json").read_text())
    models = {row["model"] for row in rows}
    assert models == {"stock", "mine"}
    ratios = {(row["model"], row["what"]): row["ratio_to_stock"] for row in rows}
    for what in ("cold_start", "first_click", "next_click", "network", "write"):
        assert ratios["stock", what] == 1
        assert ratios["mine", what] > 0
    runs = {row["what"]: row["runs"] for row in rows if "busy" in row["what"]}
    assert runs == ({"next_click_busy": 4, "next_click_busy_spinning": 4} if busy else {})
    assert ("OMP_WAIT_POLICY=PASSIVE" in done.output) == busy
    (report,) = (tmp_path / "results").glob("*.md")
    assert "| stock | torch fp32 | 96x64 |" in report.read_text()


@pytest.mark.parametrize("size", ["1920", "x", "0x0", "1920x1080,12", "99999x100"])
def test_sizes_that_are_none_are_refused(size: str) -> None:
    done = CliRunner().invoke(app, ["bench", "--image-size", size])
    assert done.exit_code == 2
    assert "1920x1080" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "torch", "--engine", "foo"], "IOG_ENGINE is 'foo'; it must be one of: auto"),
        (["--precision", "fp8"], "IOG_PRECISION is 'fp8'; it must be one of: fp32"),
        (["--json", "no/rows.json"], "there is no folder no."),
    ],
)
def test_what_would_be_refused_in_the_end_is_refused_at_once(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def measure(*_: object, **__: object) -> None:
        raise AssertionError("it measured")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.bench.run", measure)
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code != 0
    assert message in done.output


def test_without_a_clone_it_says_where_bench_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("iog.cli.bench.__file__", str(tmp_path / "iog" / "cli" / "bench.py"))
    done = CliRunner().invoke(app, ["bench"])
    assert done.exit_code == 1
    assert "comes with a clone of the repository" in done.output
