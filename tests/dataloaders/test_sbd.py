from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dataloaders.pascal import open_sbd
from iog.errors import DatasetError
from tests.tiny_formats import photos, write_sbd


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sbd(tmp_path, photos(void=False))


def test_the_dataset_folder_will_do_as_root(root: Path) -> None:
    # torchvision's SBDataset moves everything there.
    assert len(open_sbd(root / "benchmark_RELEASE/dataset", split="val")) == 1


def test_a_photograph_in_both_lists_counts_once(root: Path) -> None:
    (root / "benchmark_RELEASE/dataset/val.txt").write_text("2007_000001\n2007_000003\n")
    assert len(open_sbd(root, split=None)) == 6
    assert len(open_sbd(root, split="val")) == 3


def test_photographs_can_be_left_out(root: Path) -> None:
    part = open_sbd(root, split=None, without=["2007_000002"], subset="sbd")
    assert [part[index].image_id for index in range(len(part))] == [
        *("2007_000001", "2007_000001", "2007_000003")
    ]
    assert len(open_sbd(root, split=None)) == 6


def test_more_instances_than_categories_is_refused(root: Path) -> None:
    content = {"Segmentation": np.full((30, 30), 2, np.uint8), "Categories": np.array([[5]])}
    savemat(root / "benchmark_RELEASE/dataset/inst/2007_000003.mat", {"GTinst": content})
    with pytest.raises(DatasetError, match=r"2007_000003\.mat has more instances than categories"):
        open_sbd(root, split="val")


@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all" * 20])
def test_a_broken_file_is_named(root: Path, content: bytes) -> None:
    (root / "benchmark_RELEASE/dataset/inst/2007_000003.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"2007_000003\.mat is not a readable file of SBD"):
        open_sbd(root, split="val")


def test_a_file_of_something_else_is_named(root: Path) -> None:
    savemat(root / "benchmark_RELEASE/dataset/inst/2007_000003.mat", {"GTcls": 1})
    with pytest.raises(DatasetError, match=r"2007_000003\.mat is not a readable file of SBD"):
        open_sbd(root, split="val")


@pytest.mark.parametrize("missing", ["train.txt", "img/2007_000003.jpg", "inst/2007_000001.mat"])
def test_half_a_data_set_is_noticed_when_it_is_opened(root: Path, missing: str) -> None:
    (root / "benchmark_RELEASE/dataset" / missing).unlink()
    with pytest.raises(
        DatasetError, match=rf"{missing} is missing; it is part of benchmark\.tgz .*--download"
    ):
        open_sbd(root, split=None)
