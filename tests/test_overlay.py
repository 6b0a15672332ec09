from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iog.overlay import BOX, NEGATIVE, POSITIVE, TINT, WHITE, draw

GREY = 100


def blank(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def colour(picture: NDArray[np.uint8], x: int, y: int) -> tuple[int, ...]:
    return tuple(int(v) for v in picture[y, x])


def test_without_anything_the_picture_stays() -> None:
    image = blank()

    assert np.array_equal(draw(image, np.zeros((120, 160), np.uint8)), image)


def test_the_mask_is_tinted_and_outlined_and_the_rest_is_untouched() -> None:
    image, mask = blank(), np.zeros((120, 160), np.uint8)
    mask[40:80, 50:100] = 1

    picture = draw(image, mask)

    assert colour(picture, 75, 60) == tuple(int(GREY * 0.55 + c * 0.45) for c in TINT)
    assert colour(picture, 50, 60) == WHITE
    assert colour(picture, 99, 79) == WHITE
    assert colour(picture, 49, 60) == (GREY,) * 3
    assert colour(picture, 100, 60) == (GREY,) * 3
    assert (image == GREY).all(), "the input must not be written to"


def test_a_hole_is_outlined_too() -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[20:100, 20:100] = 1
    mask[50:70, 50:70] = 0

    picture = draw(blank(), mask)

    assert colour(picture, 60, 60) == (GREY,) * 3
    assert colour(picture, 49, 60) == WHITE


def test_prompts_have_their_colours() -> None:
    picture = draw(
        blank(),
        np.zeros((120, 160), np.uint8),
        boxes=[(20.0, 30.0, 100.0, 90.0)],
        pos_points=[(60.5, 60.5)],
        neg_points=[(140.5, 20.5)],
    )

    assert colour(picture, 60, 60) == POSITIVE
    assert colour(picture, 140, 20) == NEGATIVE
    for x, y in ((20, 30), (99, 89), (60, 30), (20, 60)):  # pixels the box just covers
        assert colour(picture, x, y) == BOX
    assert colour(picture, 100, 60) == (GREY,) * 3


@pytest.mark.parametrize("box", [(-1e9, -5.0, 1e9, 50.0), (500.0, 500.0, 600.0, 600.0)])
def test_prompts_outside_the_image_do_no_harm(box: tuple[float, float, float, float]) -> None:
    mask = np.zeros((120, 160), np.uint8)

    picture = draw(blank(), mask, boxes=[box], pos_points=[(1e9, 60.5)], neg_points=[(-9, -9)])

    assert picture.shape == (120, 160, 3)
    assert colour(picture, 159, 60) == POSITIVE
    assert colour(picture, 0, 0) == NEGATIVE


def test_lines_grow_with_the_picture() -> None:
    small, large = (
        draw(blank(side, side), np.zeros((side, side), np.uint8), pos_points=[(side / 2, side / 2)])
        for side in (100, 1200)
    )
    assert (large == POSITIVE).all(axis=2).sum() > 4 * (small == POSITIVE).all(axis=2).sum()


def test_a_one_pixel_image_works() -> None:
    picture = draw(
        blank(1, 1),
        np.ones((1, 1), np.uint8),
        boxes=[(0.0, 0.0, 1.0, 1.0)],
        pos_points=[(0.5, 0.5)],
    )

    assert picture.shape == (1, 1, 3)
