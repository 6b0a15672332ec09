from __future__ import annotations

from serving.metrics import Metrics


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_requests_stages_and_cache_lookups_are_counted() -> None:
    metrics = Metrics()
    report = {"decode_ms": 250.0, "image_cache_hits": 2, "mask_area": 7, "error": "text_ms"}

    metrics.observe(status=200, seconds=0.3, report=report)
    metrics.observe(status=200, seconds=3.0, report={"image_cache_misses": 1})
    metrics.observe(status=415, seconds=0.01, report={})

    exposed = lines(metrics)
    assert 'iog_requests_total{status="200"} 2.0' in exposed
    assert 'iog_requests_total{status="415"} 1.0' in exposed
    assert "iog_request_seconds_count 3.0" in exposed
    assert 'iog_request_seconds_bucket{le="0.4"} 2.0' in exposed
    assert 'iog_stage_seconds_sum{stage="decode"} 0.25' in exposed
    assert 'iog_cache_hits_total{cache="image"} 2.0' in exposed
    assert 'iog_cache_misses_total{cache="image"} 1.0' in exposed
    assert not any('stage="error"' in line or "mask_area" in line for line in exposed)


def test_two_hosts_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.observe(status=200, seconds=0.1, report={})

    assert "iog_request_seconds_count 1.0" in lines(one)
    assert "iog_request_seconds_count 0.0" in lines(other)


def test_the_process_is_measured_too() -> None:
    assert b"process_resident_memory_bytes" in Metrics().exposition()
