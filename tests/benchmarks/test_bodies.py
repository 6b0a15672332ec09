from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.inputs import RequestFiles
from iog.api.request import parse
from iog.decoding import read_pixels


@pytest.mark.parametrize("clicks", [1, 2, 20])
def test_a_request_is_one_that_the_function_takes(clicks: int, tmp_path: Path) -> None:
    path = RequestFiles(tmp_path).write((320, 240), clicks=clicks, threshold=0.3)
    request = parse(path.read_bytes())
    assert read_pixels(request.image, max_pixels=10**6).shape == (240, 320, 3)
    ((x0, y0, x1, y1),) = request.boxes
    assert (x0, y0, x1, y1) == (96, 60, 224, 204)
    points = [*request.pos_points, *request.neg_points]
    assert len(set(points)) == len(points) == clicks
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in points)
    assert request.threshold == 0.3


def test_the_first_click_stays_where_it_was_when_others_follow(tmp_path: Path) -> None:
    bodies = RequestFiles(tmp_path)
    first, later = (parse(bodies.write((320, 240), clicks=n).read_bytes()) for n in (1, 5))
    assert later.pos_points[0] == first.pos_points[0]
    assert later.image == first.image
