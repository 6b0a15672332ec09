from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from iog.api import masktext
from iog.api.masktext import json_rows
from iog.masks import tight_bounds

MASKS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)
)


def plain(mask: NDArray[np.uint8]) -> str:
    return json.dumps(mask.tolist(), separators=(",", ":"))


@given(MASKS, st.integers(1, 20))
def test_the_text_is_that_of_json(mask: NDArray[np.uint8], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masktext, "_BLOCK_PIXELS", block)
        assert "".join(json_rows(mask, bounds=tight_bounds(mask))) == plain(mask)
        height, width = mask.shape
        assert "".join(json_rows(mask, bounds=(0, 0, width, height))) == plain(mask)


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0), (1, 1), (700, 1), (1, 700)])
def test_masks_without_an_object(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    assert "".join(json_rows(mask)) == plain(mask)


def test_a_mask_need_not_be_contiguous() -> None:
    whole = np.random.default_rng(0).integers(0, 2, (30, 40), dtype=np.uint8)
    part = whole[::3, 5:30:2]
    assert "".join(json_rows(part, bounds=tight_bounds(part))) == plain(part)
