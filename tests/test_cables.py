"""The made-up annotation task is a COCO file that shows what it says."""

from __future__ import annotations

from pathlib import Path

from dataloaders.readers import open_dataset
from tests.cables import write_export


def test_cables_are_thin_objects_of_a_readable_export(tmp_path: Path) -> None:
    path = write_export(tmp_path, photos=5)
    objects = open_dataset(f"coco:{path},{tmp_path / 'images' / 'default'}", split=None)
    assert len(objects) >= 8
    for number in range(len(objects)):
        sample = objects[number]
        x1, y1, x2, y2 = sample.tight_box()
        assert sample.image.shape == (256, 256, 3)
        assert 20 < sample.mask.sum() < 0.7 * (x2 - x1) * (y2 - y1) + 400
    again = write_export(tmp_path / "again", photos=5)
    assert again.read_text() == path.read_text()
