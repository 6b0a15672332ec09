from __future__ import annotations

from iog.evaluation.report import Result, figure_table, iou_table
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
        ("a", "all", "3", "0.700", "0.800", "33%"),
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
