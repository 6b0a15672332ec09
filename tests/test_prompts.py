from __future__ import annotations

from typing import Any

import pytest

from iog.errors import UnusableRequest
from iog.prompts import clamped_box, ordered_boxes, split_clicks

SIZE = (20, 30)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([1, 2, 3, 4], "boxes is [4], not [N, 4]: give a list of boxes."),
        ([[1, 2, 3, 4], [1]], "A box is four finite numbers: x1, y1, x2, y2."),
        ([["1", "2", "3", "4"]], "A box is four finite numbers: x1, y1, x2, y2."),
        ({"x": 1}, "A box is four finite numbers: x1, y1, x2, y2."),
        ([[1, 2, 3, 10**400]], "A box is four finite numbers: x1, y1, x2, y2."),
    ],
)
def test_boxes_that_are_none(boxes: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError) as error:  # noqa: PT011
        ordered_boxes(boxes)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("coords", "labels", "words"),
    [
        ([(1, 2)], [1, 0], "point_labels has 2 labels for 1 click."),
        ([(1, 2), (3, 4)], [1], "point_labels has 1 label for 2 clicks."),
        (
            [(1, 2)],
            [2],
            "point_labels holds 2; a label is 1 (object) or 0 (background).",
        ),
        ([(1, 2)], [[1, 0], [1]], "point_labels is not [N]: one label for each click."),
        ([("a", "b")], [1], "point_coords is not [N, 2]: x and y of each click, finite numbers."),
        (
            [(1, 2), (3,)],
            None,
            "point_coords is not [N, 2]: x and y of each click, finite numbers.",
        ),
    ],
)
def test_clicks_that_are_none(coords: Any, labels: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError) as error:  # noqa: PT011
        split_clicks(coords, labels, SIZE)
    assert str(error.value) == words


def test_a_box_without_area_says_so() -> None:
    with pytest.raises(UnusableRequest, match=r"^The box from \(3, 4\) to \(3, 9\) has no area"):
        clamped_box((3, 4, 3, 9), None, SIZE)
    with pytest.raises(UnusableRequest, match=r"^Box 2 from .* lies outside") as error:
        clamped_box((40, 4, 50, 9), 1, SIZE)
    assert error.value.code == "box_outside_image"
