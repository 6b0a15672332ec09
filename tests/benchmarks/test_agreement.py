"""How near engines come to a reference: all answer the prompts that its masks lead to."""

from __future__ import annotations

import numpy as np
import pytest

import benchmarks.agreement as agreement
from benchmarks.agreement import compare, main, table
from dataloaders.samples import Sample
from tests.evaluation.samples import Scripted, disc_sample

DISC = disc_sample(side=40)


class OneDisc:
    """A data set of one object, a tenth of whose image is void."""

    def __init__(self) -> None:
        void = np.zeros_like(DISC.mask)
        void[:4] = True
        self._sample = Sample(
            image=DISC.image,
            mask=DISC.mask,
            void=void,
            image_id="disc",
            object_index=0,
            category="disc",
            subset="",
        )

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self._sample

    def subset(self, index: int) -> str:
        return ""

    def image_id(self, index: int) -> str:
        return "disc"


def test_masks_are_compared_after_each_click_on_the_reference_s_errors() -> None:
    upper = DISC.mask.copy()
    upper[20:] = False
    reference = Scripted([upper, DISC.mask])
    other = Scripted([DISC.mask, upper])

    found = compare(reference, {"other": other}, OneDisc(), threshold=0.5)

    assert other.prompts == reference.prompts
    assert len(other.prompts) == 2
    assert found["torch fp32"][0].to_reference == [1.0]
    assert found["torch fp32"][0].to_truth == pytest.approx([0.5])
    first, second = found["other"]
    assert first.to_reference == pytest.approx([0.5])
    assert first.to_truth == [1.0]
    assert second.to_reference == pytest.approx([0.5])
    assert second.to_truth == pytest.approx([0.5])


def test_void_counts_against_the_reference_and_not_against_the_truth() -> None:
    beyond = DISC.mask.copy()
    beyond[:4] = True
    found = compare(
        Scripted([DISC.mask]), {"other": Scripted([beyond])}, OneDisc(), threshold=0.5, clicks=1
    )

    [other] = found["other"]
    assert other.to_truth == [1.0]
    assert other.to_reference[0] < 1


def test_the_table_tells_points_of_the_same_number_of_clicks() -> None:
    half = DISC.mask.copy()
    half[20:] = False
    found = compare(
        Scripted([DISC.mask]), {"other": Scripted([half])}, OneDisc(), threshold=0.5, clicks=1
    )

    assert table(found).rows == (
        ("torch fp32", "1", "1", "1.00000", "1.0000", "1.0000", "+0.000"),
        ("other", "1", "1", "0.50000", "0.5000", "0.5000", "-50.000"),
    )


def test_masks_of_photographs_read_at_a_reduced_size_stay_near_those_read_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "_SCALES", (4.5,))
    monkeypatch.setattr(agreement, "_BOXES", 1)
    main(["--reduced", "--model", "iog-lite"])
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| read at | boxes | IoU, mean | IoU, least |"
    assert rows
    assert all(float(row.split("|")[4]) > 0.9 for row in rows)


def test_a_data_set_or_reduced_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--reduced" in capsys.readouterr().err
