"""The OpenVINO export that comes with the project: its origin, and torch's masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iog.cli.export import _crops
from iog.engines.exporting import export
from iog.engines.exports import FOLDER, Export, find_export
from iog.engines.folded import load_form
from iog.engines.openvino_engine import OpenVINOEngine
from iog.engines.torch_engine import TorchEngine
from iog.models.registry import BUNDLED_DIR
from iog.models.weightfiles import sha256_of

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Export:
    found, reason = find_export("iog-lite", weights_dir=tmp_path_factory.mktemp("empty"))
    assert found is not None, reason
    return found


def test_it_belongs_to_the_shipped_weights(shipped: Export) -> None:
    assert shipped.folder == BUNDLED_DIR / FOLDER / "iog-lite"
    assert shipped.sha256 == sha256_of(BUNDLED_DIR / "iog-lite.pt")
    assert sum(path.stat().st_size for path in shipped.files) < 15e6


def test_its_masks_are_torchs_on_the_examples(shipped: Export, tmp_path: Path) -> None:
    form = load_form("iog-lite", weights_dir=tmp_path)
    torch, openvino = TorchEngine(form.network), OpenVINOEngine(shipped, threads=1)
    crops = _crops(shipped.row.crop)
    assert len(crops) == 6
    for x, clicks in crops:
        wanted = torch.decode(torch.encode(x), clicks)
        found = openvino.decode(openvino.encode(x), clicks)
        assert np.abs(wanted - found).max() < 1e-4
        assert ((wanted > form.row.threshold) == (found > form.row.threshold)).all()


def test_exporting_again_gives_the_same_weights(shipped: Export, tmp_path: Path) -> None:
    made = export("iog-lite", weights_dir=tmp_path, threads=1)
    for old, new in zip(shipped.files, made.files, strict=True):
        if old.suffix == ".bin":
            assert sha256_of(old) == sha256_of(new)
