from __future__ import annotations

import json
import multiprocessing
import tracemalloc
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from iog.bulk import json_text
from iog.bulk.coco import CocoBoxes
from iog.bulk.journal import Journal
from iog.bulk.records import BoxedImage, MaskRow
from iog.bulk.run import Summary, make_masks
from iog.errors import DatasetError
from tests.bulk.toy import SIZE, ToyMapper, box_mask

POLYGON = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]
RLE = {"size": [40, 56], "counts": "0n0"}
HUGE = 123456789012345678901234567890


def _content(*annotations: dict[str, Any], images: Any = None) -> dict[str, Any]:  # noqa: ANN401
    return {
        "info": {"year": 2026, "schlüssel": "ä"},
        "annotations": list(annotations),
        "images": images or [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "Straße", "supercategory": ""}],
        "mine": [1, {"x": None}],
    }


def _boxed(number: int, image: Any = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"id": number, "image_id": image, "category_id": 3, "bbox": [1, 2, 30.5, 20], **more}


class Case:
    """A COCO file in a folder, and what becomes of it."""

    def __init__(self, folder: Path, content: dict[str, Any], *, indent: int | None = None) -> None:
        self.folder = folder
        self.path = folder / "boxes.json"
        self.out = folder / "masks.json"
        self.path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), "utf-8")

    def open(self, **options: Any) -> CocoBoxes:  # noqa: ANN401
        return CocoBoxes(self.path, self.folder / "photos", self.out, **options)

    def images(self, **options: Any) -> list[BoxedImage]:  # noqa: ANN401
        return list(self.open(**options).images())

    def run(self, mapper: ToyMapper | None = None, **options: Any) -> Summary:  # noqa: ANN401
        boxes = self.open(**options)
        journal = Journal(self.folder / "j", boxes.describe())
        try:
            done = make_masks(boxes, boxes, mapper or ToyMapper(), journal, done=lambda _: None)
        except BaseException:
            journal.close()
            raise
        journal.remove()
        return done

    def written(self) -> dict[str, Any]:
        return dict(json.loads(self.out.read_text("utf-8")))


def test_annotations_get_masks_and_all_else_stays_as_it_stood(tmp_path: Path) -> None:
    content = _content(
        _boxed(HUGE, 2, attributes={"occluded": True}, note='"quoted" ]}'),
        _boxed(7, 1, score=0.25, segmentation=[], area=1.50, iscrowd=0),
        _boxed(8, 2, segmentation=POLYGON),
    )
    case = Case(tmp_path, content, indent=1)
    assert case.run() == Summary(made=2, failed=0)
    found = case.written()
    assert list(found) == list(content)
    for before, after, row in zip(
        content["annotations"], found["annotations"], (box_mask(0), box_mask(1), None), strict=True
    ):
        x0, y0, x1, y1 = (0, 0, 0, 0) if row is None else row.box
        if row is not None:
            before |= {
                "segmentation": {"size": list(SIZE), "counts": row.counts},
                "area": row.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": row.score,
            }
        assert after == before
        assert list(after)[: len(before)] == list(before)
    assert {**found, "annotations": 0} == {**content, "annotations": 0}
    text = case.out.read_text("utf-8")
    assert '\n   "id": 123456789012345678901234567890,\n' in text
    assert '"schlüssel": "ä"' in text


def test_what_needs_no_mask_is_copied_byte_for_byte(tmp_path: Path) -> None:
    case = Case(tmp_path, _content(_boxed(1, segmentation=POLYGON)), indent=3)
    assert case.run() == Summary(0, 0)
    assert case.out.read_bytes() == case.path.read_bytes()


@pytest.mark.parametrize(
    ("segmentation", "kept"),
    [
        (POLYGON, True),
        (RLE, True),
        ({"size": [2, 2], "counts": [4]}, True),
        ([], False),
        ([[]], False),
        ([[1, 2, 3, 4]], False),
        (None, False),
        ({}, False),
    ],
)
def test_what_counts_as_a_mask(tmp_path: Path, segmentation: object, kept: bool) -> None:
    case = Case(tmp_path, _content(_boxed(1, segmentation=segmentation)))
    boxes = case.open()
    assert (boxes.kept, boxes.count()) == ((1, 0) if kept else (0, 1))
    assert case.open(redo=True).count() == 1


@pytest.mark.parametrize("redo", [False, True])
def test_a_crowd_is_kept(tmp_path: Path, redo: bool) -> None:
    case = Case(tmp_path, _content(_boxed(1, iscrowd=1), _boxed(2, iscrowd=1, segmentation=RLE)))
    case.run(redo=redo)
    assert case.out.read_bytes() == case.path.read_bytes()


def test_a_second_run_over_the_output_does_only_what_failed(tmp_path: Path) -> None:
    unlucky = _boxed(2)
    unlucky["bbox"] = [13, 2, 9, 9]
    case = Case(tmp_path, _content(_boxed(1), unlucky, _boxed(3)))
    assert case.run() == Summary(2, 1)
    again = Case(tmp_path, case.written())
    mapper = ToyMapper()
    again.run(mapper)
    assert mapper.seen == [1]


def test_polygons_and_run_lengths_are_of_the_same_mask(tmp_path: Path) -> None:
    case = Case(tmp_path, _content(*(_boxed(n) for n in range(9))))
    case.run(form="rle")
    exact = case.written()["annotations"]
    case.run(form="polygon", tolerance=0)
    for number, (one, other) in enumerate(zip(exact, case.written()["annotations"], strict=True)):
        row = box_mask(number)
        pixels = rle.decode({**one["segmentation"], "counts": row.counts.encode()})
        outline = rle.decode(rle.merge(rle.frPyObjects(other["segmentation"], *SIZE)))
        np.testing.assert_array_equal(pixels, outline)
        assert pixels.sum() == one["area"] == other["area"]
        np.testing.assert_array_equal(row.mask().array, pixels)
        assert row.mask().score == row.score == one["score"]


class TestImages:
    def test_they_come_in_the_files_order_with_what_is_known_of_them(self, tmp_path: Path) -> None:
        images = [
            {"id": 5, "file_name": "sub/ö.png", "height": 30, "width": 40},
            {"id": 9, "file_name": "none.png"},
            {"id": 2, "file_name": "b.png", "height": "30", "width": 40},
        ]
        case = Case(tmp_path, _content(_boxed(1, 2), _boxed(2, 5), _boxed(3, 5), images=images))
        first, second = case.images()
        assert (first.number, first.name, first.size) == (0, "sub/ö.png", (30, 40))
        assert first.image == str(tmp_path / "photos" / "sub/ö.png")
        assert [(o.number, o.name, o.label) for o in first.objects] == [
            (1, "annotation 2", "Straße"), (2, "annotation 3", "Straße")
        ]  # fmt: skip
        assert first.objects[0].box == (1.0, 2.0, 31.5, 22.0)
        assert (second.name, second.size) == ("b.png", None)

    def test_visible_keypoints_are_clicks(self, tmp_path: Path) -> None:
        case = Case(tmp_path, _content(_boxed(1, keypoints=[5, 6, 2, 7, 8, 1, 0, 0, 0, 9, 9.5, 2])))
        assert case.images()[0].objects[0].points == ((5.0, 6.0, 1), (9.0, 9.5, 1))

    def test_clicks_of_a_field(self, tmp_path: Path) -> None:
        case = Case(tmp_path, _content(_boxed(1, clicks=[[5, 6], [7, 8, 0], [9, 9, 1]]), _boxed(2)))
        first, second = case.images(points_field="clicks")[0].objects
        assert first.points == ((5.0, 6.0, 1), (7.0, 8.0, 0), (9.0, 9.0, 1))
        assert second.points == ()

    @pytest.mark.parametrize(
        ("changes", "options", "problem"),
        [
            ({"image_id": 77}, {}, "No image has the id 77."),
            ({"image_id": "1"}, {}, 'No image has the id "1".'),
            ({"bbox": [1, 2, 3]}, {}, "Its bbox is not four numbers"),
            ({"bbox": "1234"}, {}, "Its bbox is not four numbers"),
            ({"bbox": None}, {}, "Its bbox is not four numbers"),
            ({"keypoints": [1, 2]}, {}, "Its keypoints are not numbers in threes."),
            ({"c": [[1]]}, {"points_field": "c"}, "Its c is not a list of"),
            ({"c": [[1, 2, 5]]}, {"points_field": "c"}, "Its c is not a list of"),
        ],
    )
    def test_an_impossible_annotation_fails_and_costs_nothing_else(
        self, tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], problem: str
    ) -> None:
        case = Case(tmp_path, _content(_boxed(1), {**_boxed(2), **changes}, _boxed(3, 2)))
        objects = {each.number: each for image in case.images(**options) for each in image.objects}
        assert not objects[0].problem
        assert not objects[2].problem
        assert objects[1].problem.startswith(problem)
        mapper = ToyMapper()
        assert case.run(mapper, **options) == Summary(made=2, failed=1)
        assert mapper.seen == [0, 2]

    def test_annotations_may_have_the_same_id(self, tmp_path: Path) -> None:
        case = Case(tmp_path, _content(_boxed(1), _boxed(1)))
        case.run()
        first, second = case.written()["annotations"]
        assert first["area"] == box_mask(0).area
        assert second["area"] == box_mask(1).area

    def test_images_may_not(self, tmp_path: Path) -> None:
        images = [{"id": n, "file_name": f"{k}.png"} for k, n in enumerate((1, 1, 2))]
        case = Case(tmp_path, _content(_boxed(1), _boxed(2, 2), images=images))
        problems = [each.problem for image in case.images() for each in image.objects]
        assert problems == ["Several images have the id 1.", ""]

    def test_an_id_of_1_0_is_1(self, tmp_path: Path) -> None:
        case = Case(tmp_path, _content(_boxed(1, 1.0), _boxed(2, HUGE)))
        assert not case.images()[0].objects[0].problem
        huge = Case(tmp_path, _content(_boxed(2, HUGE), images=[{"id": HUGE, "file_name": "a"}]))
        assert not huge.images()[0].objects[0].problem


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"images": [], "annotations": [', "boxes.json ends too soon, after 31 bytes"),
        ('{"images": []}', "is not a COCO file of boxes: it has no annotations"),
        ("{}", "it has no annotations and no images"),
        ('{"images": [1], "annotations": []}', "an entry of images is no object"),
    ],
)
def test_files_that_are_not_coco_are_refused(tmp_path: Path, text: str, wanted: str) -> None:
    case = Case(tmp_path, {})
    case.path.write_text(text)
    with pytest.raises(DatasetError, match=wanted):
        case.open()


def _many(count: int = 40) -> dict[str, Any]:
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(7)]
    annotations = [_boxed(n, (n * 5) % 8) for n in range(count)]  # of 7 images, and of none
    for number in range(0, count, 6):
        annotations[number]["bbox"] = [13, 1, 5, 5]
    return _content(*annotations, images=images)


def test_a_run_that_was_stopped_anywhere_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    """The mapper of the second run answers in another order, as workers do."""
    (tmp_path / "unbroken").mkdir()
    unbroken = Case(tmp_path / "unbroken", _many())
    unbroken.run()
    for stop in range(7):
        folder = tmp_path / str(stop)
        folder.mkdir()
        case = Case(folder, _many())
        first, second = ToyMapper(stop_after=stop), ToyMapper(order=(2, 0, 1))
        with pytest.raises(KeyboardInterrupt):
            case.run(first)
        assert not case.out.exists()
        case.run(second)
        assert not set(first.seen) & set(second.seen)
        assert sorted(first.seen + second.seen) == sorted(set(first.seen + second.seen))
        assert case.out.read_bytes() == unbroken.out.read_bytes()


def test_an_output_that_cannot_be_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, _many())

    def full(self: MaskRow) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(MaskRow, "mask", full)
        with pytest.raises(OSError, match="No space left"):
            case.run(form="polygon")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.json", "j"]
    mapper = ToyMapper()
    case.run(mapper, form="polygon")
    assert mapper.seen == []
    assert case.out.exists()


class Forgetful(ToyMapper):
    def __init__(self) -> None:
        super().__init__()
        self.seen = deque[int](maxlen=1)  # type: ignore[assignment]


def _peak(folder: Path, count: int) -> int:
    """Python's memory at its highest in a run over so many annotations."""
    json_text._CHUNK = 1 << 16  # type: ignore[misc]
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(count // 8)]
    annotations = (_boxed(n, n * 7 % len(images), text="x" * 300) for n in range(count))
    case = Case(folder, _content(*annotations, images=images))
    assert case.path.stat().st_size > count * 300
    del annotations, images
    tracemalloc.start()
    case.run(Forgetful())
    return tracemalloc.get_traced_memory()[1]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Python's own; what SQLite and the system hold for it `benchmarks.bulk_memory` shows.

    Each run has a process to itself: threads that other tests left would count.
    """
    peaks = []
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks.append(pool.submit(_peak, folder, count).result())
    assert peaks[1] < 1.3 * peaks[0]
