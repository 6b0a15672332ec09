"""Masks for the rectangles of a CVAT server, against the stand-in in this folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cvat_sdk.core.client import AccessTokenCredentials
from cvat_sdk.masks import decode_mask

from iog.bulk.journal import Journal
from iog.bulk.records import BoxedImage, ImageOutcome, MaskRow
from iog.cvat import live
from iog.cvat.masks import Stored
from iog.cvat.rectangles import Scope
from iog.cvat.server import Server
from iog.errors import DatasetError, SettingsError
from tests.cvat.ellipses import HEIGHT, WIDTH, Ellipses, ellipse
from tests.cvat.stand_in import TOKEN, Fault, StandIn, StandInJob, serving

PATCH = "/annotations"


@pytest.fixture
def cvat() -> StandIn:
    """What tests work on."""
    return _task()


def _task() -> StandIn:
    """A task of two jobs with frames 0-2 and 3-5, two rectangles each frame, and other things."""
    state = StandIn()
    car = state.label("car", attributes=("colour", "now parked"))
    person = state.label("person", "mask")
    colour, parked = (each["id"] for each in state.labels[0]["attributes"])
    for number, start in ((11, 0), (12, 3)):
        job = StandInJob(number, task=5, start=start, stop=start + 2)
        state.jobs[number] = job
        for frame in range(start, start + 3):
            state.picture(frame, np.full((HEIGHT, WIDTH, 3), 40 + frame, np.uint8))
            for place, label in ((4.0, car), (30.5, person)):
                attributes = [{"spec_id": colour, "value": "red"}] if label == car else []
                job.shapes.append(
                    _shape(state, "rectangle", frame, label, [place, 5.0, place + 20, 30.25])
                    | {"group": 7, "z_order": 3, "occluded": True, "attributes": attributes}
                )
        job.tags.append({"id": state.number(), "frame": start, "label_id": car, "group": 0,
                         "source": "manual", "attributes": []})  # fmt: skip
    job = state.jobs[11]
    job.shapes.append(_shape(state, "polygon", 0, car, [1.0, 1, 9, 1, 9, 9]))
    job.shapes.append(_shape(state, "rectangle", 1, car, [20.0, 10, 40, 20]) | {"rotation": 90.0})
    keyframes = [
        _shape(state, "rectangle", frame, car, [10.0 + frame, 20, 30 + frame, 40])
        | {"outside": frame == 2, "attributes": [{"spec_id": parked, "value": str(frame)}]}
        for frame in range(3)
    ]
    for keyframe in keyframes:
        for extra in ("label_id", "group", "source", "elements"):
            del keyframe[extra]
    job.tracks.append(
        {"id": state.number(), "frame": 0, "label_id": car, "group": 9, "source": "manual",
         "attributes": [{"spec_id": colour, "value": "blue"}], "elements": [],
         "shapes": keyframes}
    )  # fmt: skip
    return state


def _shape(
    state: StandIn, kind: str, frame: int, label: int, points: list[float]
) -> dict[str, Any]:
    return {"id": state.number(), "type": kind, "frame": frame, "label_id": label, "group": 0,
            "source": "manual", "occluded": False, "outside": False, "z_order": 0,
            "rotation": 0.0, "points": points, "attributes": [], "elements": []}  # fmt: skip


@pytest.fixture
def url(cvat: StandIn) -> Iterator[str]:
    with serving(cvat) as address:
        yield address


def _server(url: str) -> Server:
    return Server(url, AccessTokenCredentials(TOKEN), patience=0)


def _apply(
    url: str, tmp_path: Path, *, replace: bool = False, scope: Scope = ("task", 5),
    mapper: Ellipses | None = None, keep: bool = False,
) -> Stored:  # fmt: skip
    server = _server(url)
    plan = live.look(server, scope)
    plan.check()
    with closing(Journal(tmp_path / "j", {"server": url})) as journal:
        stored = live.apply(
            server, plan, mapper or Ellipses(), journal, replace=replace, done=lambda _: None
        )
        if not keep:
            journal.remove()
    return stored


def _without_ids(state: StandIn) -> list[Any]:
    """What the jobs hold, without the numbers that the stand-in gives."""
    return [
        [
            sorted(str({**shape, "id": 0}) for shape in job.shapes if shape["type"] == "mask"),
            sorted(str(shape) for shape in job.shapes if shape["type"] != "mask"),
            job.tracks,
            job.tags,
        ]
        for job in state.jobs.values()
    ]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[Any]]:
    """What an unbroken run leaves, without and with --replace."""
    found = {}
    for replace in (False, True):
        state = _task()
        with serving(state) as address:
            _apply(address, tmp_path_factory.mktemp("unbroken"), replace=replace)
        found[replace] = _without_ids(state)
    return found


def test_looking_changes_nothing_and_says_what_would_be_done(cvat: StandIn, url: str) -> None:
    before = copy.deepcopy(cvat.jobs)
    cvat.deleted_frames = [4]

    plan = live.look(_server(url), ("task", 5))

    assert list(plan.lines(replace=True)) == [
        "task 5: 11 rectangles and 2 keyframes of 1 tracks want a mask, in 5 frames of 2 jobs.",
        "  car: 8",
        "  person: 5",
        "2 on deleted frames are left as they are.",
        "Each rectangle is deleted once its mask is stored, and each track once all its are.",
        "The boxes that CVAT interpolates between keyframes go with their track.",
    ]
    assert cvat.jobs == before
    assert cvat.changes() == []


def test_masks_are_added_with_all_that_their_rectangles_have(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    before = copy.deepcopy(cvat.jobs)

    stored = _apply(url, tmp_path)

    assert stored == Stored(created=15)
    for number, job in cvat.jobs.items():
        others = [each for each in job.shapes if each["type"] != "mask"]
        assert others == sorted(before[number].shapes, key=lambda each: each["frame"])
        assert (job.tracks, job.tags) == (before[number].tracks, before[number].tags)
    for rectangle in before[12].shapes:
        (mask,) = (
            each for each in cvat.masks(12)
            if (each["frame"], each["label_id"]) == (rectangle["frame"], rectangle["label_id"])
        )  # fmt: skip
        kept = ("group", "z_order", "occluded", "attributes")
        assert [mask[each] for each in kept] == [rectangle[each] for each in kept]
        assert mask["source"] == "semi-auto"
        assert mask["score"] == pytest.approx((40 + mask["frame"]) / 255, abs=1e-3)
        drawn = decode_mask(mask["points"], image_width=WIDTH, image_height=HEIGHT)
        outcome = ellipse(tuple(rectangle["points"]), 1.0)
        assert isinstance(outcome, MaskRow)
        np.testing.assert_array_equal(drawn, outcome.mask().array)


def test_keyframes_become_shapes_with_the_attributes_of_both_and_the_tracks_group(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    _apply(url, tmp_path)

    masks = [each for each in cvat.masks(11) if each["group"] == 9]
    values = [[each["value"] for each in mask["attributes"]] for mask in masks]
    assert [mask["frame"] for mask in masks] == [0, 1]
    assert values == [["blue", "0"], ["blue", "1"]]


def test_with_replace_rectangles_and_finished_tracks_go_and_nothing_else(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    stored = _apply(url, tmp_path, replace=True)

    assert stored == Stored(created=15, deleted=15)
    assert [each["type"] for each in cvat.jobs[11].shapes if each["type"] != "mask"] == ["polygon"]
    assert cvat.jobs[11].tracks == []
    assert len(cvat.jobs[11].tags) == len(cvat.jobs[12].tags) == 1
    assert len(cvat.masks(11)) + len(cvat.masks(12)) == 15


def test_a_track_stays_while_one_of_its_keyframes_has_no_mask(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    cvat.jobs[11].tracks[0]["shapes"][1]["points"] = [3.0, 3, 3.1, 3.1]

    stored = _apply(url, tmp_path, replace=True)

    assert len(cvat.jobs[11].tracks) == 1
    assert (stored.created, stored.deleted) == (14, 13)


def test_rectangles_whose_mask_failed_stay(cvat: StandIn, url: str, tmp_path: Path) -> None:
    cvat.frames[4] = b"no picture"

    class Fails(Ellipses):
        def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
            for image in images:
                if image.number == 4:
                    yield ImageOutcome.failed(image, "broken")
                else:
                    yield from super().map(iter([image]))

    stored = _apply(url, tmp_path, replace=True, mapper=Fails())

    assert stored == Stored(created=13, deleted=13)
    assert [each["frame"] for each in cvat.jobs[12].shapes if each["type"] == "rectangle"] == [4, 4]


def test_doing_it_again_stores_nothing_twice(cvat: StandIn, url: str, tmp_path: Path) -> None:
    _apply(url, tmp_path)
    once = copy.deepcopy(cvat.jobs)

    stored = _apply(url, tmp_path)

    assert stored == Stored(known=15)
    assert cvat.jobs == once


def test_two_equal_rectangles_get_two_masks(cvat: StandIn, url: str, tmp_path: Path) -> None:
    cvat.jobs[12].shapes.append({**cvat.jobs[12].shapes[0], "id": cvat.number()})

    assert _apply(url, tmp_path) == Stored(created=16)
    assert _apply(url, tmp_path, replace=True) == Stored(known=16, deleted=16)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("what", ["lost before", "lost after", "500", "503"])
@pytest.mark.parametrize(
    "path", ["action=create", "action=delete", "annotations/$", "meta", "type=frame"]
)
def test_what_fails_in_passing_is_made_good_without_doing_anything_twice(
    what: str, path: str, replace: bool, cvat: StandIn, url: str, tmp_path: Path,
    expected: dict[bool, list[Any]],
) -> None:  # fmt: skip
    method = "PATCH" if "action" in path else "GET"
    times = 3 if method == "PATCH" or what == "500" else 6  # beyond cvat-sdk's own attempts
    cvat.faults = [Fault(what, method, path, times=times)]

    _apply(url, tmp_path, replace=replace)

    assert _without_ids(cvat) == expected[replace]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("step", range(8))
def test_killed_at_any_change_it_goes_on_to_the_same_end(
    step: int, done: bool, replace: bool, cvat: StandIn, url: str, tmp_path: Path,
    expected: dict[bool, list[Any]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("iog.cvat.masks._CHUNK", 4)
    patch, left = Server._patch, [step]

    def killed(self: Server, job: int, action: str, **content: list[Any]) -> None:
        left[0] -= 1
        if left[0] < 0 and not done:
            raise KeyboardInterrupt
        patch(self, job, action, **content)
        if left[0] < 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as first:
        first.setattr(Server, "_patch", killed)
        with suppress(KeyboardInterrupt):
            _apply(url, tmp_path, replace=replace, keep=True)
    again = Ellipses()
    _apply(url, tmp_path, replace=replace, mapper=again)

    assert _without_ids(cvat) == expected[replace]
    assert step == 7 or len(again.seen) < 15  # what the journal has is not made again


@pytest.mark.parametrize("frames", range(6))
def test_killed_while_masks_are_made_it_makes_the_others_only(
    frames: int, cvat: StandIn, url: str, tmp_path: Path, expected: dict[bool, list[Any]]
) -> None:
    first, second = Ellipses(stop_after=2 * frames), Ellipses()
    with pytest.raises(KeyboardInterrupt):
        _apply(url, tmp_path, replace=True, mapper=first, keep=True)

    _apply(url, tmp_path, replace=True, mapper=second)

    assert not set(first.seen) & set(second.seen)
    assert _without_ids(cvat) == expected[True]


def test_nothing_is_deleted_before_the_masks_are_read_back(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    before = copy.deepcopy(cvat.jobs)
    cvat.faults = [Fault("forgotten", "PATCH", "action=create", times=9)]

    with pytest.raises(DatasetError, match="has not stored them; no rectangle was deleted"):
        _apply(url, tmp_path, replace=True)

    assert cvat.jobs == before
    assert not any("delete" in path for path in cvat.changes())


def test_a_server_that_stays_broken_ends_the_run_in_a_sentence(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    cvat.faults = [Fault("503", "PATCH", "action=create", times=99)]

    with pytest.raises(DatasetError, match="answered with status 503"):
        _apply(url, tmp_path)


def test_a_refused_change_is_not_tried_again(cvat: StandIn, url: str, tmp_path: Path) -> None:
    cvat.faults = [Fault("403", "PATCH", "action=create", times=99)]

    with pytest.raises(DatasetError, match="does not let this user do that"):
        _apply(url, tmp_path, replace=True)

    assert len(cvat.changes()) == 1


def test_rectangles_that_are_moved_meanwhile_are_left(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    class Moves(Ellipses):
        def close(self) -> None:
            return

        def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
            yield from super().map(images)
            cvat.jobs[12].shapes[0]["points"] = [0.0, 0, 9, 9]
            cvat.jobs[12].shapes[1]["group"] = 4

    stored = _apply(url, tmp_path, replace=True, scope=("job", 12), mapper=Moves())

    assert stored == Stored(created=5, deleted=5, changed=1)
    assert [each["points"] for each in cvat.jobs[12].shapes if each["type"] == "rectangle"] == [
        [0.0, 0, 9, 9]
    ]
    assert 4 in [each["group"] for each in cvat.masks(12)]


def test_labels_that_take_no_masks_are_told_before_anything_is_changed(
    cvat: StandIn, url: str
) -> None:
    cvat.labels[0]["type"] = "rectangle"

    with pytest.raises(SettingsError, match=r'take no masks: car\. .* set its type to "any"'):
        live.look(_server(url), ("task", 5)).check()


def test_a_label_without_rectangles_may_be_of_any_type(cvat: StandIn, url: str) -> None:
    cvat.label("skeleton", "skeleton")

    live.look(_server(url), ("task", 5)).check()


@pytest.mark.parametrize("kind", ["ground_truth", "consensus_replica"])
def test_ground_truth_and_replicas_are_read_only_when_named(
    kind: str, cvat: StandIn, url: str
) -> None:
    cvat.jobs[12].kind = kind

    assert live.look(_server(url), ("task", 5)).jobs == [11]
    assert live.look(_server(url), ("project", 1)).jobs == [11]
    assert live.look(_server(url), ("job", 12)).jobs == [12]


def test_frames_of_a_video_are_the_tasks_not_the_files(
    cvat: StandIn, url: str, tmp_path: Path
) -> None:
    for job in cvat.jobs.values():
        job.mode = "interpolation"

    mapper = Ellipses()
    _apply(url, tmp_path, mapper=mapper)

    asked = [path for _, path in cvat.requests if "type=frame" in path]
    numbers = sorted(int(path.split("number=")[1].split("&")[0]) for path in asked)
    assert numbers == [0, 1, 2, 3, 4, 5]
    scores = {each["frame"]: each["score"] for each in [*cvat.masks(11), *cvat.masks(12)]}
    assert scores == {frame: round((40 + frame) / 255, 4) for frame in range(6)}


@pytest.mark.parametrize(
    ("scope", "sentence"),
    [
        (("task", 6), "No tasks matches"),
        (("project", 2), "No projects matches"),
        (("job", 13), "No Job matches"),
    ],
)
def test_what_is_not_there_is_told(scope: Scope, sentence: str, url: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        live.look(_server(url), scope)


def test_point_clouds_are_refused(cvat: StandIn, url: str) -> None:
    cvat.jobs[12].dimension = "3d"

    with pytest.raises(DatasetError, match="job 12 is of point clouds"):
        live.look(_server(url), ("task", 5))


def test_a_server_without_connection_is_told() -> None:
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1:9 does not answer"):
        live.look(_server("http://127.0.0.1:9"), ("task", 5))
