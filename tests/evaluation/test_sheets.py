from __future__ import annotations

import numpy as np
import pytest

from iog.evaluation.pictures import CAPTION, SIDE, contact_sheet, tile
from iog.evaluation.protocols import first_prompt
from iog.overlay import POSITIVE
from tests.evaluation.samples import disc_sample


@pytest.mark.parametrize("side", [12, 90, 900])
def test_a_tile_shows_prediction_with_prompts_and_truth(side: int) -> None:
    sample = disc_sample(side=side)
    prompt = first_prompt(sample)
    found = tile(sample, np.zeros_like(sample.mask), prompt, caption="0.12 disc")
    assert found.shape == (SIDE + CAPTION, 2 * SIDE, 3)
    clicked = (found == POSITIVE).all(axis=2)
    assert clicked[:, :SIDE].any()
    assert not clicked[:, SIDE:].any()
    truth = found[CAPTION + SIDE // 2, SIDE + SIDE // 2].astype(int)
    assert truth[2] > truth[0] + 40, "the truth is tinted blue"
    assert (found[:CAPTION] < 128).any(), "a caption"


def test_tiles_stand_in_rows_of_four() -> None:
    tiles = [np.full((10, 20, 3), shade, np.uint8) for shade in range(6)]
    found = contact_sheet(tiles)
    assert found.shape == (20, 80, 3)
    assert found[::10, ::20, 0].tolist() == [[0, 1, 2, 3], [4, 5, 255, 255]]
    assert contact_sheet(tiles[:2]).shape == (10, 40, 3)
