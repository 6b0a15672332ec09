"""The load model, against what queueing theory knows in closed form."""

from __future__ import annotations

import math

import pytest
from typer.testing import CliRunner

from iog.cli import app
from iog.cli.size import MOST_BUSY, Load, forecast, replicas_for


def _load(annotators: int, *, think: float = 5.0) -> Load:
    return Load(annotators, think, first=0.2, later=0.2, clicks=1)


def test_one_annotator_never_waits() -> None:
    found = forecast(_load(1), 1)

    assert found.mean == pytest.approx(0.2)
    assert found.p95 == pytest.approx(0.2)
    assert found.throughput == pytest.approx(1 / 5.2)
    assert found.busy == pytest.approx(0.2 / 5.2)


def test_two_annotators_share_a_worker_as_in_the_textbook() -> None:
    # M/M/1//2 with r = service / think: p0 = 1 / (1 + 2 r + 2 r^2).
    r = 0.2 / 5.0
    idle = 1 / (1 + 2 * r + 2 * r * r)

    assert forecast(_load(2), 1).busy == pytest.approx(1 - idle)


def test_many_annotators_get_what_the_worker_can_do() -> None:
    # Beyond saturation: throughput 1 / service, mean N service - think (the asymptotes).
    found = forecast(_load(1000), 1)

    assert found.throughput == pytest.approx(5.0, rel=1e-6)
    assert found.mean == pytest.approx(1000 * 0.2 - 5.0, rel=1e-6)
    assert found.busy == pytest.approx(1.0)


def test_waiting_is_that_of_an_open_queue_where_people_are_many_and_rare() -> None:
    # 10,000 people who think 5,000 s are a Poisson stream of 2 per second: M/M/1 at load 0.4,
    # where P(wait > t) = 0.4 exp(-(1/S - 2) t).
    found = forecast(_load(10_000, think=5000.0), 1)
    expected = math.log(0.4 / 0.05) / (5 - 2)

    assert found.p95 - 0.2 == pytest.approx(expected, rel=0.01)


def test_a_second_worker_of_a_replica_helps_more_than_a_second_replica() -> None:
    # One queue for both keeps nobody waiting beside a free worker.
    shared = forecast(Load(30, 5.0, 0.2, 0.2, clicks=1, workers=2), 1)
    apart = forecast(Load(30, 5.0, 0.2, 0.2, clicks=1), 2)

    assert shared.p95 < apart.p95


def test_more_replicas_find_less_in_their_caches() -> None:
    load = Load(10, 5.0, 0.3, 0.1, clicks=4)

    assert load.service(1) == pytest.approx((0.3 + 3 * 0.1) / 4)
    assert load.service(1) < load.service(2) < load.service(1000) < 0.3


@pytest.mark.parametrize("annotators", [1, 10, 100, 1000])
def test_the_replicas_are_the_fewest_that_answer_in_time(annotators: int) -> None:
    load = Load(annotators, 5.0, 0.3, 0.1)
    found = replicas_for(load, within=1.0)

    assert found.p95 <= 1.0
    assert found.busy <= MOST_BUSY
    if found.replicas > 1:
        fewer = forecast(load, found.replicas - 1)
        assert fewer.p95 > 1.0 or fewer.busy > MOST_BUSY


def test_who_never_thinks_gets_a_replica_to_themselves() -> None:
    assert replicas_for(Load(3, 0.0, 0.3, 0.1), within=1.0).replicas == 3


def test_what_no_number_of_replicas_can_do_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be met"):
        replicas_for(Load(10, 5.0, 0.3, 0.1), within=0.2)


def test_iog_size_prints_a_row_for_each_number() -> None:
    shown = CliRunner().invoke(app, ["size", "--annotators", "10", "--annotators", "1000"])

    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines() if line.strip()]
    assert [row[0] for row in rows[-2:]] == ["10", "1,000"]


@pytest.mark.parametrize("arguments", [["--within", "0.04"], ["--first", "0.1", "--later", "0.2"]])
def test_iog_size_says_what_cannot_be(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, ["size", *arguments])

    assert shown.exit_code != 0
    assert "No number of replicas will do" in shown.stderr
