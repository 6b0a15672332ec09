from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iog.serving.metrics import Metrics

ABOUT = {"model": "iog-lite", "engine": "openvino", "precision": "fp32", "device": "cpu"}


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_requests_stages_and_cache_lookups_are_counted() -> None:
    metrics = Metrics(ABOUT)
    report = {"open_ms": 250.0, "image_cache_hits": 2, "mask_area": 7, "error": "text_ms"}

    metrics.observe(status=200, seconds=0.3, report=report)
    metrics.observe(status=200, seconds=3.0, report={"image_cache_misses": 1})
    metrics.observe(status=415, seconds=0.01, report={})

    exposed = lines(metrics)
    assert 'iog_requests_total{status="200"} 2.0' in exposed
    assert 'iog_requests_total{status="415"} 1.0' in exposed
    assert "iog_request_seconds_count 3.0" in exposed
    assert 'iog_request_seconds_bucket{le="0.5"} 2.0' in exposed
    assert 'iog_stage_seconds_sum{stage="open"} 0.25' in exposed
    assert 'iog_cache_hits_total{cache="image"} 2.0' in exposed
    assert 'iog_cache_misses_total{cache="image"} 1.0' in exposed
    assert not any('stage="error"' in line or "mask_area" in line for line in exposed)


def test_two_hosts_in_one_process_count_apart() -> None:
    one, other = Metrics(ABOUT), Metrics(ABOUT)
    one.observe(status=200, seconds=0.1, report={})

    assert "iog_request_seconds_count 1.0" in lines(one)
    assert "iog_request_seconds_count 0.0" in lines(other)


def test_the_process_is_measured_too() -> None:
    assert b"process_resident_memory_bytes" in Metrics(ABOUT).exposition()


def test_a_click_of_a_few_milliseconds_and_one_of_seconds_fall_into_buckets_apart() -> None:
    metrics = Metrics(ABOUT)
    for seconds in (0.004, 0.007, 4.0):
        metrics.observe(status=200, seconds=seconds, report={})

    exposed = lines(metrics)
    for bound, count in (("0.005", 1), ("0.01", 2), ("2.0", 2), ("5.0", 3)):
        assert f'iog_request_seconds_bucket{{le="{bound}"}} {count}.0' in exposed


def test_what_runs_is_told() -> None:
    exposed = lines(Metrics({**ABOUT, "version": "1.2", "threads": 2}))

    (info,) = (line for line in exposed if line.startswith("iog_info"))
    assert info.endswith("} 1.0")
    assert set(info.removeprefix("iog_info{").removesuffix("} 1.0").split(",")) == {
        'device="cpu"',
        'engine="openvino"',
        'model="iog-lite"',
        'precision="fp32"',
        'version="1.2"',
    }


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_each_worker_is_measured_by_its_number() -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        exposed = Metrics(ABOUT, lambda: [os.getpid(), None, other.pid]).exposition().decode()
    finally:
        other.communicate()

    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds"):
        assert f'iog_worker_{name}{{worker="0"}} ' in exposed
        assert f'iog_worker_{name}{{worker="2"}} ' in exposed
    assert 'worker="1"' not in exposed
    assert exposed.count("# TYPE iog_worker_resident_memory_bytes gauge") == 1


def test_a_worker_that_has_just_died_is_left_out() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert "iog_worker_resident" not in Metrics(ABOUT, lambda: [gone.pid]).exposition().decode()
