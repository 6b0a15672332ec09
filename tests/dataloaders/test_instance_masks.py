from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataloaders.instance_masks import InstanceMasks
from iog.errors import DatasetError
from tests.tiny_dataset import write_folder, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


def test_a_folder_and_its_tar_hold_the_same_objects(folder: Path, tmp_path: Path) -> None:
    plain = InstanceMasks(folder, split="train")
    packed = InstanceMasks(write_tar(tmp_path / "data.tar", folder), split="train")
    assert len(plain) == len(packed) == 6
    for index in range(len(plain)):
        a, b = plain[index], packed[index]
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.mask, b.mask)
        assert (a.image_id, a.object_index, a.category) == (b.image_id, b.object_index, b.category)


def test_a_sample_is_one_object(folder: Path) -> None:
    objects = InstanceMasks(folder, split="val")
    first, second = objects[0], objects[1]
    assert (first.image_id, first.object_index, first.category) == ("3", 0, "disc1")
    assert second.object_index == 1
    assert first.image.shape == (96, 96, 3)
    assert not (first.mask & second.mask).any()
    assert first.void[:2].all()
    assert not first.void[2:].any()
    assert first.subset == objects.subset(0) == "discs"


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", photos=2)
    import cv2

    red = np.zeros((96, 96, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(folder / "0.png"), red)
    assert InstanceMasks(folder, split="train")[0].image[50, 50].tolist() == [255, 0, 0]


def test_the_tight_box_touches_the_mask_on_every_side(folder: Path) -> None:
    sample = InstanceMasks(folder, split=None)[0]
    x1, y1, x2, y2 = (int(v) for v in sample.tight_box())
    inside = sample.mask[y1:y2, x1:x2]
    assert inside.sum() == sample.mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist"):
        InstanceMasks(tmp_path / "nowhere", split="train")
    with pytest.raises(DatasetError, match=r"no split 'test'; it has: train, val"):
        InstanceMasks(folder, split="test")
    (folder / "0.png").unlink()
    with pytest.raises(DatasetError, match=r"0\.png is missing"):
        InstanceMasks(folder, split="train")[0]
    (folder / "0.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"0\.png is not a readable image"):
        InstanceMasks(folder, split="train")[0]
    (folder / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"manifest\.json is missing"):
        InstanceMasks(folder, split="train")


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no archive at all")
    with pytest.raises(DatasetError, match=r"is neither a folder nor a readable tar file$"):
        InstanceMasks(tmp_path / "a.tar", split=None)
