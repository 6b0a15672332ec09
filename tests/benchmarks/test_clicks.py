from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks.bench as sweeping
from benchmarks.bench import Plan, measure_clicks, measure_sweeps, measure_throughput
from benchmarks.inputs import RequestFiles
from benchmarks.processes import RANDOM, BenchWorker, Subject, WorkerError, subjects_of
from benchmarks.report import STAGES, Run
from iog.errors import WeightsError
from iog.settings import Settings
from tests.random_weights import write_random_lite

PLAN = Plan(sizes=((96, 64),), rounds=1, warm_up=False, cold_starts=1, seconds=0.1, cores=1)


def said(text: str) -> None:
    assert text


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = write_random_lite(tmp_path_factory.mktemp("weights") / "mine.pt")
    environment = {"IOG_MODEL": str(path), "IOG_THREADS": "1", "IOG_DEVICE": "cpu"}
    return Subject("mine", "auto", "fp32", environment=environment)


def test_ours_is_measured_and_what_cannot_start_is_named(ours: Subject, tmp_path: Path) -> None:
    broken = Subject("broken", "auto", "fp32", environment={"IOG_MODEL": "no/such.pt"})
    found = measure_clicks([ours, broken], PLAN, RequestFiles(tmp_path), say=said)
    assert found.started == [ours]
    assert "no/such.pt" in found.refused[broken]
    stages = [prefix + stage for prefix in ("", "next_") for stage in STAGES]
    assert sorted(row.what for row in found.rows) == sorted(
        ["cold_start", "first_click", "next_click", *stages]
    )
    rows = {row["what"]: row for row in Run(found.rows, {}, {}).as_json()}
    assert rows["cold_start"]["median_ms"] > rows["first_click"]["median_ms"] > 0
    assert rows["next_open"]["median_ms"] < rows["open"]["median_ms"]  # nothing is read twice
    assert {row["image_size"] for row in rows.values()} == {"96x64"}
    assert {row["precision"] for row in rows.values()} == {"fp32"}
    assert all(row["engine"] != "auto" for row in rows.values())


def test_throughput_and_sweeps(
    ours: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = RequestFiles(tmp_path)
    (row,) = measure_throughput(ours, PLAN, bodies, say=said)
    assert (row.what, row.median_ms > 0) == ("throughput_1x1", True)
    if row.pss_mb is not None and row.rss_mb is not None:
        assert 50 < row.pss_mb < row.rss_mb  # the host and its worker share libraries
    for name, value in {
        "_MEGAPIXELS": (0.02, 0.04),
        "_SIDES": (0.5, 1.0),
        "_CLICKS": (1, 2),
        "_THRESHOLDS": (0.9, 0.1),
        "_LARGE": (160, 120),
        "_USUAL": (160, 120),
        "_BOX_PX": 60,
    }.items():
        monkeypatch.setattr(sweeping, name, value)
    curves = list(measure_sweeps(ours, bodies, rounds=1, quick=False, say=said))
    assert [curve.name for curve in curves] == ["image size", "box size", "clicks", "mask area"]
    assert all(len(curve.points) == 2 for curve in curves)
    assert all(p.first_ms > p.network_ms > 0 for curve in curves for p in curve.points)


def test_a_worker_says_what_went_wrong(ours: Subject, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"image": "AAAA", "obj_bbox": [[1, 2], [3, 4]]}))
    with BenchWorker(ours) as worker, pytest.raises(WorkerError, match="not_an_image"):
        worker.ask("click", body=str(body))


def test_weights_that_are_not_here_are_replaced_by_random_ones(tmp_path: Path) -> None:
    settings = Settings(weights_dir=tmp_path)
    (found,) = subjects_of(
        "iog-pascal-sbd-refinement",
        engines=["torch"],
        precisions=["fp32"],
        settings=settings,
        folder=tmp_path,
    )
    assert (found.model, found.note) == ("iog-pascal-sbd-refinement", RANDOM)
    assert Path(found.environment["IOG_MODEL"]).is_file()
    both = subjects_of(
        "iog-lite",
        engines=["torch"],
        precisions=["fp32", "bf16"],
        settings=settings,
        folder=tmp_path,
    )
    assert [(c.precision, c.note) for c in both] == [("fp32", ""), ("bf16", "")]
    with pytest.raises(WeightsError, match="no weights called"):
        list(subjects_of("x", engines=[""], precisions=[""], settings=settings, folder=tmp_path))
