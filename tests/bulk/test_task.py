from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import iog
from iog.bulk import MaskTask
from iog.bulk.records import BoxedImage, BoxedObject, Click, Failure, MaskRow

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"
SIZE = (300, 451)
BOXES = [(60.0, 50.0, 142.0, 134.0), (10.0, 20.0, 300.0, 280.0), (200.5, 3.25, 90.0, 120.0)]
POINTS: list[tuple[Click, ...]] = [(), ((150.0, 160.0, 1), (20.0, 30.0, 0)), ()]


@pytest.fixture(scope="module")
def task() -> MaskTask:
    return MaskTask(engine="openvino", device="cpu", threads=1)


@pytest.fixture(scope="module")
def predictor() -> iog.Predictor[Any]:
    return iog.load(engine="openvino", device="cpu", threads=1)


def _boxed(image: Any, *boxes: Any, **more: Any) -> BoxedImage:  # noqa: ANN401
    objects = tuple(BoxedObject(k, box, f"annotation {k}") for k, box in enumerate(boxes))
    return BoxedImage(4, "cat.jpg", image, objects, **more)


def test_masks_are_those_of_the_predictor(task: MaskTask, predictor: iog.Predictor[Any]) -> None:
    image = BoxedImage(
        4,
        "cat.jpg",
        str(CAT),
        tuple(BoxedObject(9 - k, box, "", "", POINTS[k]) for k, box in enumerate(BOXES)),
        SIZE,
    )
    found = task.outcome(image)
    assert found.image is image
    assert [number for number, _ in found.outcomes] == [9, 8, 7]
    predictor.set_image(CAT)
    for (_, row), box, points in zip(found.outcomes, BOXES, POINTS, strict=True):
        mask = predictor.predict(box, [p[:2] for p in points], [p[2] for p in points])
        assert isinstance(row, MaskRow)
        np.testing.assert_array_equal(row.mask().array, mask.array)
        assert (row.score, row.area, row.box) == (mask.score, mask.area, mask.box)
        assert row.mask().score == mask.score


def test_a_batch_of_columns_gives_the_same(task: MaskTask) -> None:
    data = CAT.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    batch: dict[str, list[Any]] = {
        "image": [str(CAT), data, pixels, functools.partial(CAT.read_bytes), str(CAT)],
        "boxes": [BOXES, BOXES[:1], np.array(BOXES[1:2]), BOXES[:1], []],
        "points": [POINTS, [[]], [[list(p) for p in POINTS[1]]], [()], []],
        "name": ["a", "b", "c", "d", "e"],
    }
    found = task(batch)
    assert list(found) == ["name", "masks"]
    first = found["masks"][0]
    assert found["masks"][1] == found["masks"][3] == first[:1]
    assert found["masks"][2] == first[1:2]
    assert found["masks"][4] == []
    without = task({"image": [str(CAT)], "boxes": [BOXES]})["masks"][0]
    assert without[0] == first[0]
    assert without[1] != first[1]
    row = dict(task.outcome(_boxed(str(CAT), BOXES[0])).outcomes)[0]
    assert isinstance(row, MaskRow)
    assert first[0] == {
        "size": list(SIZE), "counts": row.counts, "bbox": list(row.box), "area": row.area,
        "score": row.score,
    }  # fmt: skip


def _none() -> bytes:
    raise OSError("The frame cannot be fetched.")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("/nowhere/a.jpg", "/nowhere/a.jpg: No such file or directory"),
        (b"no image", "of no known format"),
        (CAT.read_bytes()[:40], "image"),
        (_none, "The frame cannot be fetched."),
        (np.zeros((3, 3)), "not uint8 RGB"),
        (7, "The image is a int"),
    ],
)
def test_an_unreadable_image_fails_with_all_its_objects(
    task: MaskTask,
    image: Any,  # noqa: ANN401
    reason: str,
) -> None:
    outcomes = task.outcome(_boxed(image, *BOXES)).outcomes
    assert len(outcomes) == 3
    for _, outcome in outcomes:
        assert isinstance(outcome, Failure)
        assert reason in outcome.reason


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((500.0, 10.0, 600.0, 50.0), "lies outside the image of 451 x 300 pixels"),
        ((10.0, 10.0, 10.0, 50.0), "has no area"),
        ((0.1, 0.1, 0.5, 0.5), "smaller than a pixel"),
        ((float("nan"), 0.0, 5.0, 5.0), "four finite numbers"),
    ],
)
def test_an_impossible_box_fails_alone(task: MaskTask, box: Any, reason: str) -> None:  # noqa: ANN401
    first, bad, last = (
        o for _, o in task.outcome(_boxed(str(CAT), BOXES[0], box, BOXES[0])).outcomes
    )
    assert isinstance(bad, Failure)
    assert reason in bad.reason
    assert first == last
    assert isinstance(first, MaskRow)


def test_boxes_of_an_image_of_another_size_fail(task: MaskTask) -> None:
    ((_, outcome),) = task.outcome(_boxed(str(CAT), BOXES[0], size=(451, 300))).outcomes
    assert outcome == Failure(
        "The image is 451 x 300 pixels, but its boxes are meant for 300 x 451."
    )


def test_no_object_found_is_a_failure() -> None:
    task = MaskTask(engine="openvino", device="cpu", threads=1, threshold=0.999999)
    ((_, outcome),) = task.outcome(_boxed(str(CAT), (1.0, 1.0, 4.0, 4.0))).outcomes
    assert outcome == Failure("The model found no object in the box.")


def test_it_is_pickled_without_the_model(task: MaskTask) -> None:
    task.load()
    data = pickle.dumps(task)
    assert len(data) < 10_000
    assert pickle.loads(data).describe() == task.describe()


def test_it_tells_what_its_masks_depend_on(task: MaskTask, tmp_path: Path) -> None:
    about = task.describe()
    assert len(about.pop("weights sha256")) == 64
    assert about == {
        "model": "iog-lite", "engine": "openvino", "precision": "fp32", "device": "cpu",
        "threshold": "the model's",
    }  # fmt: skip
