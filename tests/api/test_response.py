"""What each output looks like."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from iog.api import response
from iog.api.response import json_rows, write
from iog.masks import Mask
from iog.settings import OUTPUTS


def array() -> NDArray[np.uint8]:
    """Two rectangles of 6 and 2 pixels in an image of 5 x 7."""
    pixels = np.zeros((5, 7), dtype=np.uint8)
    pixels[1:3, 1:4] = 1
    pixels[4, 5:7] = 1
    return pixels


def mask() -> Mask:
    return Mask.of_region(array(), (0, 0), (5, 7), score=0.93)


def answer(outputs: tuple[str, ...], *masks: Mask, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    text = write(masks or (mask(),), outputs, **options)
    assert type(text) is str
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_mask_and_points() -> None:
    body = answer(("mask",))
    assert list(body) == ["mask", "points"]
    assert body["mask"] == mask().array.astype(int).tolist()
    assert sorted(body["points"]) == [[1, 1], [1, 3], [4, 1], [4, 3]]


def test_each_output_is_the_key_of_its_name() -> None:
    for name in OUTPUTS:
        assert set(answer((name,))) - {"points"} == {name}
    assert set(answer(OUTPUTS)) == {*OUTPUTS, "points"}


def test_shapes_are_what_cvat_reads() -> None:
    assert answer(("shapes",))["shapes"] == [
        {
            "type": "mask",
            "points": [0, 3, 3, 3, 13, 2, 1, 1, 6, 4],
            "attributes": [{"spec_id": 0, "value": "0.9300"}],
        }
    ]


def test_polygon_has_all_components_largest_first() -> None:
    first, second = answer(("polygon",))["polygon"]
    assert sorted(first["exterior"]) == [[1, 1], [1, 3], [4, 1], [4, 3]]
    assert sorted(second["exterior"]) == [[5, 4], [5, 5], [7, 4], [7, 5]]
    assert first["holes"] == second["holes"] == []


def test_rle_is_cocos() -> None:
    rle = answer(("rle",))["rle"]
    assert rle["size"] == [5, 7]
    assert isinstance(rle["counts"], str)


def test_png_is_the_mask_as_an_image() -> None:
    data = base64.b64decode(answer(("png",))["png"], validate=True)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert np.array_equal(pixels, mask().array * 255)


def test_an_empty_mask() -> None:
    body = answer(OUTPUTS, Mask.from_array(np.zeros((3, 4), dtype=np.uint8)))
    assert body["mask"] == [[0] * 4] * 3
    assert body["points"] == body["shapes"] == body["polygon"] == []
    assert body["rle"]["size"] == [3, 4]
    assert body["objects"] == [{"box": None, "score": 0.0, "area": 0, "rle": body["rle"]}]


def test_objects_have_one_entry_for_each_mask_in_order() -> None:
    left, right = np.zeros((2, 5, 7), np.uint8)
    left[1:3, 1:4] = 1
    right[4, 5:7] = 1
    masks = [
        Mask.of_region(right, (0, 0), (5, 7), score=0.9),
        Mask.from_array(np.zeros((5, 7))),
        Mask.of_region(left, (0, 0), (5, 7), score=0.8),
    ]
    body = answer(("objects", "mask"), *masks)
    assert body["mask"] == array().tolist()
    assert [entry["box"] for entry in body["objects"]] == [[5, 4, 7, 5], None, [1, 1, 4, 3]]
    assert [entry["area"] for entry in body["objects"]] == [2, 0, 6]
    assert [entry["score"] for entry in body["objects"]] == [0.9, 0.0, 0.8]
    assert [Mask.from_rle(entry["rle"]).area for entry in body["objects"]] == [2, 0, 6]


@pytest.mark.parametrize("form", ["rle", "polygon", "png"])
def test_an_object_has_the_form_that_is_asked_for(form: str) -> None:
    (entry,) = answer(("objects",), form=form)["objects"]
    assert list(entry) == ["box", "score", "area", form]
    assert entry[form] == answer((form,))[form]


def test_the_tolerance_is_about_all_outlines() -> None:
    y, x = np.mgrid[:200, :200]
    disc = Mask.from_array((x - 100) ** 2 + (y - 90) ** 2 < 80**2)
    outputs = ("mask", "polygon", "objects")

    def vertices(tolerance: float | None) -> list[int]:
        body = answer(outputs, disc, form="polygon", tolerance=tolerance)
        rings = body["points"], body["polygon"][0]["exterior"], body["objects"][0]["polygon"]
        return [len(rings[0]), len(rings[1]), len(rings[2][0]["exterior"])]

    exact, usual, coarse = vertices(0), vertices(None), vertices(5)
    assert vertices(1.0) == usual
    assert exact[0] > usual[0] > coarse[0]
    assert all(len(set(counts)) == 1 for counts in (exact, usual, coarse))


MASKS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)
)


def plain(mask: NDArray[np.uint8]) -> str:
    return json.dumps(mask.tolist(), separators=(",", ":"))


@given(MASKS, st.integers(1, 20))
def test_the_text_is_that_of_json(mask: NDArray[np.uint8], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response, "_BLOCK_PIXELS", block)
        assert "".join(json_rows(Mask.from_array(mask))) == plain(mask)
