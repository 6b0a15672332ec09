"""The OpenVINO export that comes with the project: its origin, and torch's masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iog.cli.export import _crops
from iog.engines.engine import EXPORTS_FOLDER, find_export, read_manifest
from iog.engines.export import export, with_previous
from iog.engines.torch_engine import TorchEngine, load_fused
from iog.models.files import sha256_of
from iog.models.spec import BUNDLED_DIR, ModelSpec, resolve

pytest.importorskip("openvino")

SHIPPED = BUNDLED_DIR / EXPORTS_FOLDER


@pytest.fixture
def spec() -> ModelSpec:
    return resolve("iog-lite", weights_dir=Path("nowhere"))


def test_it_belongs_to_the_shipped_weights(spec: ModelSpec, tmp_path: Path) -> None:
    assert find_export(spec, weights_dir=tmp_path) == (SHIPPED / spec.name, "")
    assert sum(path.stat().st_size for path in (SHIPPED / spec.name).iterdir()) < 15e6


def test_its_masks_are_torchs_on_the_examples(spec: ModelSpec, tmp_path: Path) -> None:
    from iog.engines.openvino_engine import OpenVINOEngine

    network, checkpoint = load_fused(spec, weights_dir=tmp_path)
    torch = TorchEngine(network, checkpoint.spec)
    openvino = OpenVINOEngine(SHIPPED / spec.name, spec, threads=1)
    assert openvino.spec == torch.spec
    crops = with_previous(torch, _crops(spec))
    assert len(crops) == 6
    for x, clicks in crops:
        wanted = torch.decode(torch.encode(x), clicks)
        found = openvino.decode(openvino.encode(x), clicks)
        assert np.abs(wanted - found).max() < 1e-4
        assert ((wanted > spec.threshold) == (found > spec.threshold)).all()


@pytest.mark.long
def test_exporting_again_gives_the_same_weights(spec: ModelSpec, tmp_path: Path) -> None:
    made = export(spec.name, weights_dir=tmp_path, threads=1)
    shipped = SHIPPED / spec.name
    assert read_manifest(made)["files"] == read_manifest(shipped)["files"]
    for path in shipped.glob("*.bin"):
        assert sha256_of(path) == sha256_of(made / path.name)
