"""Holding out keeps photographs whole and finds the same ones every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataloaders.samples import Sample, hold_out
from iog.errors import DatasetError


class Named:
    """Objects of which only the photograph's name matters."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        pixel = np.ones((1, 1), np.bool_)
        photo = np.zeros((1, 1, 3), np.uint8)
        return Sample(photo, pixel, ~pixel, self._names[index], index, "", self.subset(index))

    def subset(self, index: int) -> str:
        return f"part {index}"

    def image_id(self, index: int) -> str:
        return self._names[index]


@given(st.lists(st.text(max_size=3), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_every_photograph_is_whole_on_one_side(names: list[str], share: float) -> None:
    if len(set(names)) < 2:
        return
    kept, held = hold_out(Named(names), share)
    sides = [{part.image_id(i) for i in range(len(part))} for part in (kept, held)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(names)
    assert sides[0]
    assert sides[1]
    assert len(kept) + len(held) == len(names)


@given(st.permutations([f"photo {n}" for n in range(20)]))
def test_the_division_does_not_depend_on_the_order(names: list[str]) -> None:
    _, held = hold_out(Named(names), 0.25)
    _, again = hold_out(Named(sorted(names)), 0.25)
    assert len(held) == 5
    assert {held.image_id(i) for i in range(5)} == {again.image_id(i) for i in range(5)}


def test_more_photographs_move_few_across() -> None:
    names = [f"photo {n}" for n in range(100)]
    before, after = (hold_out(Named(names[:n]), 0.2)[1] for n in (90, 100))
    moved = {before.image_id(i) for i in range(len(before))} - {
        after.image_id(i) for i in range(len(after))
    }
    assert len(moved) <= 4


def test_parts_pass_everything_on() -> None:
    objects = Named(["a", "b", "b", "c"])
    for part in hold_out(objects, 0.3):
        for index in range(len(part)):
            sample = part[index]
            assert sample.image_id == part.image_id(index)
            assert sample.subset == part.subset(index)


def test_one_photograph_cannot_be_divided() -> None:
    with pytest.raises(DatasetError, match="one photograph"):
        hold_out(Named(["a", "a"]), 0.5)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_is_between_nothing_and_everything(share: float) -> None:
    with pytest.raises(ValueError, match="holds out"):
        hold_out(Named(["a", "b"]), share)
