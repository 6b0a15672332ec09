from __future__ import annotations

import pytest

from iog.evaluation.report import Result, difference_table, figure_table, iou_table
from iog.evaluation.scores import ObjectScore

CLICKS = ("1 click", "2 clicks")


def _score(subset: str, *ious: float, **figures: float) -> ObjectScore:
    return ObjectScore(
        "image", 0, "", subset, ious, figures=figures, first_ms=100.0, next_ms=(40.0, 50.0)
    )


def test_every_model_has_a_row_for_every_part() -> None:
    scores = [_score("coco", 0.9, 1.0), _score("ecssd", 0.5, 0.6), _score("ecssd", 0.7, 0.8)]
    table = iou_table([Result("a", CLICKS, scores), Result("b", CLICKS, scores[:1])])
    assert table.head == ("model", "set", "objects", "1 click", "2 clicks", "over 0.85")
    assert table.rows == (
        ("a", "coco", "1", "0.900", "1.000", "100%"),
        ("a", "ecssd", "2", "0.600", "0.700", "0%"),
        ("a", "mean of sets", "3", "0.750", "0.850", "50%"),
        ("a", "all", "3", "0.700 ± 0.133", "0.800 ± 0.133", "33% ± 44%"),
        ("b", "all", "1", "0.900", "1.000", "100%"),
    )


def test_of_many_clicks_some_are_shown_and_the_last() -> None:
    columns = ("1 click", *(f"{n} clicks" for n in range(2, 21)))
    table = iou_table([Result("a", columns, [_score("", *[0.5] * 20)])])
    assert table.head[3:] == (
        "1 click", "2 clicks", "3 clicks", "4 clicks", "5 clicks", "10 clicks", "15 clicks",
        "20 clicks", "over 0.85",
    )  # fmt: skip


def test_thresholds_have_no_share_of_good_objects() -> None:
    table = iou_table([Result("a", ("0.1", "0.2"), [_score("", 0.5, 0.6)])])
    assert table.rows == (("a", "all", "1", "0.500", "0.600"),)


def test_figures_that_nobody_has_are_left_out() -> None:
    first = Result("a", CLICKS, [_score("", 0.5, 0.6, boundary_f=0.25, noc_85=3)])
    second = Result("b", CLICKS, [_score("", 0.5, 0.6, boundary_f=0.75)])
    table = figure_table([first, second])
    assert table.head == ("", "a", "b")
    assert table.rows == (
        ("boundary F after 1 click", "0.250", "0.750"),
        ("clicks to IoU 0.85, at most 20", "3.00", "-"),
        ("first click, ms, median / 95 %", "100 / 100", "100 / 100"),
        ("next click, ms, median / 95 %", "45 / 50", "45 / 50"),
    )


def test_markdown() -> None:
    table = iou_table([Result("a", ("0.1",), [_score("", 0.5)])])
    assert table.markdown() == (
        "| model | set | objects | 0.1 |\n| --- | ---: | ---: | ---: |\n| a | all | 1 | 0.500 |"
    )


def _on(image: str, area: int, *ious: float) -> ObjectScore:
    return ObjectScore(image, 0, "", "", ious, area=area)


def test_objects_are_parted_by_cocos_sizes() -> None:
    areas = (1023, 1024, 9215, 9216)
    scores = [_on(str(area), area, area / 10_000) for area in areas]
    table = iou_table([Result("a", ("0.5",), scores)])
    found = [(row[1], row[2], row[3].split()[0]) for row in table.rows]
    assert found == [
        ("small", "1", "0.102"),
        ("medium", "2", "0.512"),
        ("large", "1", "0.922"),
        ("all", "4", "0.512"),
    ]


def test_models_are_compared_object_by_object() -> None:
    first = Result("a", CLICKS, [_on("1", 5, 0.2, 0.5), _on("2", 5, 0.9, 0.9)])
    second = Result("b", CLICKS, [_on("1", 5, 0.3, 0.5), _on("2", 5, 0.8, 0.9)])
    third = Result("c", CLICKS, [_on("1", 5, 0.21, 0.5), _on("2", 5, 0.91, 0.9)])
    table = difference_table([first, second, third])
    assert table.title.startswith("Difference from a")
    assert table.rows == (
        ("b", "all", "2", "+0.000 ± 0.100", "+0.000 ± 0.000", "-50% ± 50%"),
        # ten times the objects' spread is not in the difference
        ("c", "all", "2", "+0.010 ± 0.000", "+0.000 ± 0.000", "+0% ± 0%"),
    )
    assert difference_table([first]).rows == ()
    with pytest.raises(ValueError, match="different objects"):
        difference_table([first, Result("d", CLICKS, first.scores[::-1])])
