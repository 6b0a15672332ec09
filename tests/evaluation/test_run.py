from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataloaders.samples import Sample
from iog.errors import DatasetError, SettingsError
from iog.evaluation.protocols import AnnotatorProtocol
from iog.evaluation.run import FILE, ScoreFile, chosen, read_ahead, score_objects
from iog.evaluation.segmenters import BASELINES
from tests.evaluation.samples import disc_sample


class Discs:
    """Ten objects; remembers which were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        return disc_sample(side=40 + 2 * index, number=index, image_id=f"photo{index}")

    def subset(self, index: int) -> str:
        return ""

    def image_id(self, index: int) -> str:
        return self[index].image_id


PROTOCOL = AnnotatorProtocol(threshold=0.5, clicks=1)
SETTINGS = {"data": "discs", "protocol": {"clicks": 1}, "jitter": (2, 5)}


def test_samples_are_read_ahead_in_order() -> None:
    discs = Discs()
    samples = read_ahead(discs, iter([7, 1, 4, 2]), ahead=2)
    assert next(samples)[0] == 7
    assert len(discs.read) <= 3
    assert [(number, sample.object_index) for number, sample in samples] == [
        (1, 1), (4, 4), (2, 2),
    ]  # fmt: skip


def test_an_object_that_cannot_be_read_ends_the_run_with_its_error() -> None:
    class Broken(Discs):
        def __getitem__(self, index: int) -> Sample:
            raise DatasetError("3.png is missing")

    with pytest.raises(DatasetError, match=r"3\.png is missing"):
        list(score_objects(BASELINES["ellipse"], Broken(), PROTOCOL))


def test_a_few_objects_are_spread_over_the_data_set() -> None:
    assert chosen(10, None) == chosen(10, 10) == chosen(10, 99) == list(range(10))
    assert chosen(10, 4) == [0, 2, 5, 7]


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    whole = list(score_objects(BASELINES["ellipse"], Discs(), PROTOCOL))
    stopped: Iterator[object] = score_objects(
        BASELINES["ellipse"], Discs(), PROTOCOL, store=ScoreFile(tmp_path, SETTINGS)
    )
    for _ in range(4):
        next(stopped)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"number": 4, "image_id": "pho')  # killed while it wrote

    discs, store = Discs(), ScoreFile(tmp_path, SETTINGS)
    scores = list(score_objects(BASELINES["ellipse"], discs, PROTOCOL, store=store))
    assert discs.read == [4, 5, 6, 7, 8, 9]
    assert [s.ious for s in scores] == [s.ious for s in whole]

    again = Discs()
    store = ScoreFile(tmp_path, SETTINGS)
    assert list(score_objects(BASELINES["ellipse"], again, PROTOCOL, store=store)) == scores
    assert again.read == []
    assert len((tmp_path / FILE).read_text().splitlines()) == 11


def test_scores_of_other_settings_are_not_continued(tmp_path: Path) -> None:
    ScoreFile(tmp_path, SETTINGS)
    with pytest.raises(SettingsError, match=r"with protocol\.clicks = 1 and not 2:"):
        ScoreFile(tmp_path, {**SETTINGS, "protocol": {"clicks": 2}})


def test_every_line_is_json(tmp_path: Path) -> None:
    store = ScoreFile(tmp_path, SETTINGS)
    list(score_objects(BASELINES["ellipse"], Discs(), PROTOCOL, limit=3, store=store))
    header, *rows = (json.loads(line) for line in store.path.read_text().splitlines())
    assert header["settings"]["data"] == "discs"
    assert [row["number"] for row in rows] == [0, 3, 6]
