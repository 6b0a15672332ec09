from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataloaders import pascal
from dataloaders.pascal import Instance, open_voc
from iog.errors import DatasetError
from tests.tiny_formats import photos, write_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path, photos())


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photographs whose maps were read to find their objects, in order."""
    names: list[str] = []
    original = pascal._Voc.objects

    def watch(self: pascal._Voc, image_id: str) -> list[Instance]:
        names.append(image_id)
        return original(self, image_id)

    monkeypatch.setattr(pascal._Voc, "objects", watch)
    return names


def index_file(root: Path, split: str = "trainval") -> Path:
    return root / f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.instances.json"


def listed(root: Path) -> list[tuple[str, int, str]]:
    objects = open_voc(root, split=None)
    samples = [objects[index] for index in range(len(objects))]
    return [(sample.image_id, sample.object_index, sample.category) for sample in samples]


def test_maps_are_read_once(root: Path, read: list[str]) -> None:
    before = listed(root)
    assert read == ["2007_000001", "2007_000002", "2007_000003"]
    assert listed(root) == before
    assert len(read) == 3
    folder = index_file(root).parent
    assert {path.name for path in folder.iterdir()} == {
        *("train.txt", "val.txt", "trainval.txt"),
        "trainval.instances.json",  # and nothing half-written
    }


@pytest.mark.parametrize("kind", ["SegmentationObject", "SegmentationClass"])
def test_a_changed_map_is_read_again_and_no_other(root: Path, read: list[str], kind: str) -> None:
    listed(root)
    read.clear()
    path = root / "VOCdevkit/VOC2012" / kind / "2007_000002.png"
    values = np.array(Image.open(path))
    values[values == 1] = 2  # the first object joins the second; there is no class of that number
    values[values == 10] = 12
    Image.fromarray(values).save(path)
    changed = [entry for entry in listed(root) if entry[0] == "2007_000002"]
    assert read == ["2007_000002"]
    expected = [(0, "dog"), (1, "person"), (2, "dog")]
    if kind == "SegmentationObject":
        expected = [(1, "cow"), (2, "dog")]
    assert [entry[1:] for entry in changed] == expected


def test_a_changed_list_is_noticed(root: Path, read: list[str]) -> None:
    before = listed(root)
    names = index_file(root).with_name("trainval.txt")
    names.write_text("2007_000003\n2007_000001\n")
    assert [entry[0] for entry in listed(root)] == ["2007_000003", "2007_000001", "2007_000001"]
    assert set(json.loads(index_file(root).read_text())["images"]) == {"2007_000001", "2007_000003"}
    names.write_text("2007_000001\n2007_000002\n2007_000003\n")
    assert listed(root) == before
    assert read[3:] == ["2007_000002"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"version": 0, "images": {}}', '{"version": 1, "images": {"a": 2}}']
)
def test_an_index_that_makes_no_sense_is_replaced(root: Path, content: str) -> None:
    before = listed(root)
    index_file(root).write_text(content)
    assert listed(root) == before
    assert json.loads(index_file(root).read_text())["version"] == 1


def test_a_folder_that_cannot_be_written_to_will_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:  # noqa: ANN401
        raise PermissionError("read-only")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert len(listed(root)) == 6
    assert not index_file(root).exists()


def test_a_full_disk_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    assert len(listed(root)) == 6
    assert sorted(path.suffix for path in index_file(root).parent.iterdir()) == [".txt"] * 3


def test_photographs_without_any_object_are_refused(root: Path) -> None:
    path = root / "VOCdevkit/VOC2012/SegmentationObject/2007_000003.png"
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="have no object"):
        open_voc(root, split="val")
