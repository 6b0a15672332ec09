"""Several objects on one photo: names, colours, what is shown, what is deleted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.workbench import Workbench

CUP, SPOON = (130, 50, 480, 370), (20, 180, 160, 390)
IN_CUP, IN_SPOON = (300, 200), (100, 300)
# Without a click on them.
ON_CUP, ON_SPOON = (330, 230), (80, 280)


@pytest.fixture
def two(bench: Workbench) -> Workbench:
    """A cup with a label, and a second object that is chosen."""
    bench.open_example("coffee").box(CUP).click(*IN_CUP)
    bench.page.get_by_label("Label").fill("cup")
    bench.page.get_by_label("Label").press("Enter")
    bench.button("New object").click()
    return bench.box(SPOON).click(*IN_SPOON)


def test_a_second_object_has_a_name_a_colour_and_a_score_of_its_own(two: Workbench) -> None:
    names = two.objects()
    assert re.fullmatch(r"cup, score 0\.\d\d", names[0])
    assert re.fullmatch(r"Object 2, score 0\.\d\d", names[1])
    assert two.clicks() == ["Click 1, add, at 100, 300"]
    cup, spoon = two.painted(*ON_CUP), two.painted(*ON_SPOON)
    assert cup[3] > 30
    assert spoon[3] > 30
    assert cup[:3] != spoon[:3]


def test_a_drag_beside_a_box_draws_the_next_object(bench: Workbench) -> None:
    bench.open_example("coffee").box((250, 100, 450, 350)).box((20, 180, 160, 390))

    assert len(bench.objects()) == 2


def test_a_colour_is_chosen(two: Workbench) -> None:
    before = two.painted(*ON_SPOON)

    two.page.get_by_role("radio", name="Yellow").check(force=True)
    two.settled()

    red, green, blue, _ = two.painted(*ON_SPOON)
    assert (red, green, blue) != before[:3]
    assert min(red, green) > blue


def test_an_object_is_hidden_and_shown(two: Workbench) -> None:
    two.button("Hide cup").click()
    two.settled()
    assert two.painted(*ON_CUP)[3] == 0
    assert two.painted(*ON_SPOON)[3] > 0
    two.button("Show cup").click()
    two.settled()
    assert two.painted(*ON_CUP)[3] > 0


def test_an_object_is_chosen_corrected_and_deleted(two: Workbench) -> None:
    spoon = two.mask()
    two.button(re.compile("^cup, score")).click()
    expect(two.button(re.compile("^cup, score"))).to_have_attribute("aria-current", "true")
    assert two.settled().clicks() == ["Click 1, add, at 300, 200"]
    two.click(150, 350, remove=True)
    assert len(two.clicks()) == 2
    two.button(re.compile("^Object 2, score")).click()
    assert np.array_equal(two.settled().mask(), spoon)

    two.button("Delete cup").click()
    assert [name.split(",")[0] for name in two.settled().objects()] == ["Object 2"]
    two.button("Undo").click()
    assert [name.split(",")[0] for name in two.settled().objects()] == ["cup", "Object 2"]


def test_another_photo_begins_anew_and_labels_are_offered_again(two: Workbench) -> None:
    two.page.locator("#file").set_input_files([])
    offered = two.page.locator("#labels option").evaluate_all("all => all.map(o => o.value)")

    assert "cup" in offered
