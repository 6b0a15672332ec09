from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bulk import Measured, tables, write_photos
from benchmarks.bulk_work import Span, overlap


def test_only_the_time_in_which_all_are_at_work_counts() -> None:
    spans = [
        Span(1, 0, 9, 8),  # warms up
        Span(1, 9, 11, 8),
        Span(1, 11, 13, 8),
        Span(2, 0, 10, 8),  # warms up, and for longer
        Span(2, 10, 12, 8),
        Span(2, 12, 20, 8),  # alone at the end
    ]
    # From 10 to 13: half of an image, one and one; then an eighth.
    assert overlap(spans) == pytest.approx((4 + 8 + 8 + 1) / 3)
    with pytest.raises(ValueError, match="give more images"):
        overlap([Span(1, 0, 1, 8), Span(2, 2, 3, 8)])


def test_the_photographs_are_the_same_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write_photos(folder, images=2)
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    boxes = json.loads(files[0]["boxes.json"])["annotations"]
    assert [each["image_id"] for each in boxes] == [0] * 8 + [1] * 8
    assert all(x >= 0 and x + w <= 640 for x, _, w, _ in (each["bbox"] for each in boxes))


def test_rates_are_beside_the_limit() -> None:
    measured = [Measured("iog masks", (6.0, 8.0)), Measured("network alone", (10.0,))]
    row = tables(measured, [Measured("4", (40.0,))])
    assert row[0].rows[0][:5] == ("iog masks", "7.0", "6.0 8.0", "1.00", "0.70")
    assert row[1].rows == (("4", "40.0", "0.500"),)
