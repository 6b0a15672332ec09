from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from iog.bulk.journal import Journal
from iog.bulk.records import Failure, ImageOutcome
from iog.errors import SettingsError
from tests.bulk.toy import box_mask, image

ABOUT = {"model": "iog-lite", "input sha256": "00"}


def _one(number: int) -> ImageOutcome:
    boxed = image(number)
    first, second = (each.number for each in boxed.objects)
    return ImageOutcome(boxed, ((second, Failure("No.")), (first, box_mask(first))))


def test_outcomes_come_back_as_they_were_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", ABOUT)
    for number in (3, 1):
        journal.add(_one(number))
    assert list(journal) == [
        (10, box_mask(10)), (11, Failure("No.")), (30, box_mask(30)), (31, Failure("No."))
    ]  # fmt: skip
    assert journal.get(30) == box_mask(30)
    assert journal.get(12) is None
    assert 31 in journal
    assert 12 not in journal
    assert len(journal) == 4
    assert journal.counts() == (2, 2)
    assert list(journal.failures()) == [
        ("1.png, annotation 1", "No."), ("3.png, annotation 1", "No.")
    ]  # fmt: skip
    journal.close()


def test_a_next_run_finds_them_and_the_last_removes_all_files(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, ABOUT)
    journal.add(_one(1))
    journal.close()
    again = Journal(path, ABOUT)
    assert len(again) == 2
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_image_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", ABOUT)
    journal.add(_one(1))
    boxed = image(2, objects=2)
    with pytest.raises(sqlite3.IntegrityError):  # the number 10 is there already
        journal.add(ImageOutcome(boxed, ((20, box_mask(20)), (21, box_mask(1)), (20, box_mask(1)))))
    assert len(journal) == 2
    journal.add(ImageOutcome(boxed, ((20, box_mask(20)),)))
    assert len(journal) == 3
    journal.close()


def test_what_was_added_outlives_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from iog.bulk.journal import Journal; from tests.bulk.test_journal import ABOUT, _one; "
        "journal = Journal(Path(sys.argv[1]), ABOUT); journal.add(_one(1)); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)
    assert done.returncode == -9
    journal = Journal(tmp_path / "j", ABOUT)
    assert [number for number, _ in journal] == [10, 11]
    journal.close()


def test_a_journal_of_something_else_is_refused_with_what_differs(tmp_path: Path) -> None:
    _begun(tmp_path / "j")
    wanted = r"j holds 2 finished objects of a run with model 'iog-lite', not 'other'\. Give what"
    with pytest.raises(SettingsError, match=wanted):
        Journal(tmp_path / "j", {**ABOUT, "model": "other"})
    with pytest.raises(SettingsError, match="redo 'none', not 'True'"):
        Journal(tmp_path / "j", {**ABOUT, "redo": "True"})
    Journal(tmp_path / "j", ABOUT).close()


def _begun(path: Path) -> None:
    journal = Journal(path, ABOUT)
    journal.add(_one(1))
    journal.close()


def test_a_journal_without_outcomes_stops_nobody(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j", ABOUT)
    first._db.close()  # killed
    Journal(tmp_path / "j", {**ABOUT, "model": "other"}).close()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_share_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", ABOUT)
    with pytest.raises(SettingsError, match="another run writes the same output"):
        Journal(tmp_path / "j", ABOUT)
    journal.close()


def test_another_file_of_its_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("my journal, 1987\n" * 100)
    with pytest.raises(SettingsError, match="is no journal of `iog masks`"):
        Journal(tmp_path / "j", ABOUT)
    assert (tmp_path / "j").read_text().startswith("my journal")


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unable to open"):
        Journal(tmp_path / "none" / "j", ABOUT)


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", ABOUT)
    journal.add(_one(1))
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite's way to say that the disk is full

    def fill() -> None:
        for number in range(2, 2000):
            journal.add(_one(number))

    with pytest.raises(OSError, match="full"):
        fill()
    assert len(journal) >= 2
    journal.close()
    again = Journal(tmp_path / "j", ABOUT)
    assert again.get(10) == box_mask(10)
    again.close()
