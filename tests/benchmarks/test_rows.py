from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from benchmarks.report import (
    STAGES,
    Curve,
    Point,
    Row,
    Run,
    busy_table,
    click_table,
    cpu,
    described,
    measured,
    slug,
    stage_table,
    throughput_table,
)

WHAT = {"model": "m", "engine": "torch", "precision": "fp32", "image_size": "64x48"}


def row(what: str, times: list[float], stock: list[float] | None = None, note: str = "") -> Row:
    return measured(times, stock=stock, what=what, rss_mb=100.0, note=note, **WHAT)


def rows() -> list[Row]:
    clicks = [row("cold_start", [5000.0]), row("first_click", [90.0, 110.0, 100.0], [400.0])]
    clicks.append(row("next_click", [20.0], [400.0]))
    stages = [row(prefix + stage, [10.0]) for prefix in ("", "next_") for stage in STAGES]
    return [*clicks, *stages, row("throughput_2x1", [250.0])]


def curve() -> Curve:
    points = (Point(1, 30, 8, 20, 4), Point(2, 32, 8, 20, 4), Point(4, 36, 8, 20, 4))
    return Curve("image size", "megapixels", points)


def test_a_row_is_median_percentile_and_ratio() -> None:
    times = [float(n) for n in range(1, 101)]
    found = row("first_click", times, [200.0, 202.0, 204.0])
    assert (found.median_ms, found.p95_ms, found.ratio_to_stock, found.runs) == (
        50.5,
        96,
        0.25,
        100,
    )


def test_of_few_runs_the_slowest_counts() -> None:
    assert row("first_click", [3.0, 9.0, 4.0]).p95_ms == 9


@pytest.mark.parametrize("stock", [None, [], [0.0]])
def test_without_stock_there_is_no_ratio(stock: list[float] | None) -> None:
    assert row("decode", [1.0], stock).ratio_to_stock is None


def test_rows_as_json_have_the_agreed_keys() -> None:
    (found,) = Run([row("first_click", [1.0], [2.0])], {}, {}).as_json()
    agreed = ("model", "engine", "precision", "image_size", "what", "median_ms", "p95_ms")
    assert set(found) >= {*agreed, "ratio_to_stock", "rss_mb"}


def test_slopes_are_milliseconds_for_one_more() -> None:
    assert curve().slopes() == {
        "first click": 2.0,
        "next click": 0.0,
        "without network": 2.0,
        "next, without network": 0.0,
    }


def test_tables_say_what_was_measured() -> None:
    (line,) = click_table(rows()).rows
    assert line[:3] == ("m", "torch fp32", "64x48")
    assert line[3:] == ("5000 (5000)", "", "100 (110)", "0.25", "20 (20)", "0.05", "100")
    (line,) = stage_table(rows(), prefix="next_", title="").rows
    assert line[3:] == ("10.0 (20%)",) * 5 + ("40.0",)
    (line,) = throughput_table(rows()).rows
    assert line[3:] == ("2 x 1", "4.00", "100", "")
    assert click_table([row("cold_start", [1.0])]).rows == ()


def test_clicks_beside_other_programs_have_the_ratio_of_the_two_ways_to_wait() -> None:
    found = [row("next_click_busy", [20.0, 30.0]), row("next_click_busy_spinning", [250.0])]
    (line,) = busy_table(found).rows
    assert line[3:] == ("25 (30)", "250 (250)", "0.10")
    assert busy_table(rows()).rows == ()


def test_random_weights_are_told() -> None:
    (line,) = click_table(
        [row(what, [1.0], note="random weights") for what in ("first_click", "next_click")]
    ).rows
    assert line[0] == "m (random weights)"


def test_a_report_holds_machine_tables_and_plots(tmp_path: Path) -> None:
    run = Run(rows(), {"m, torch fp32": [curve()] * 4}, described(cores=2))
    path = run.write(tmp_path / "results", today=date(2030, 1, 2))
    assert path.name == f"2030-01-02-{slug(cpu())}.md"
    text = path.read_text()
    for table in run.tables():
        assert f"## {table.title}\n\n{table.markdown()}\n" in text
    assert all(word in text for word in ("commit: ", "processor: ", "torch 2"))
    pictures = sorted(found.name for found in path.parent.glob("*.png"))
    assert len(pictures) == 2
    assert all(f"]({name})" in text for name in pictures)


def test_markdown_puts_figures_to_the_right() -> None:
    lines = click_table(rows()).markdown().splitlines()
    assert lines[1].startswith("| --- | --- | --- | ---: |")
    assert len({line.count("|") for line in lines}) == 1


def test_names_of_files_are_plain() -> None:
    assert slug("AMD EPYC(tm) 9B14 @ 2.6GHz") == "amd-epyc-tm-9b14-2-6ghz"
