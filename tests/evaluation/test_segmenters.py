from __future__ import annotations

from pathlib import Path

import pytest

from iog.errors import WeightsError
from iog.evaluation.protocols import OfficialProtocol
from iog.evaluation.segmenters import candidate
from iog.models.files import sha256_of
from iog.models.spec import REGISTRY
from iog.settings import Settings
from tests.evaluation.samples import disc_sample
from tests.random_weights import write_random_lite


def test_a_path_is_loaded_and_told_apart_by_its_content(tmp_path: Path) -> None:
    path = write_random_lite(tmp_path / "mine.pt")
    it = candidate(Settings(model=str(path), device="cpu", threads=1))
    assert it.name == "mine"
    assert it.description["sha256"] == sha256_of(path)
    assert it.rule == REGISTRY["iog-lite"].crop
    assert it.threshold == REGISTRY["iog-lite"].threshold
    sample = disc_sample(side=50)
    found = it.segmenter.predict(sample.image, OfficialProtocol(it.rule).prompt(sample))
    assert found.shape == (50, 50)


@pytest.mark.parametrize("name", ["box", "ellipse", "grabcut"])
def test_baselines_need_no_weights(name: str, tmp_path: Path) -> None:
    it = candidate(Settings(model=name, weights_dir=tmp_path))
    assert (it.name, it.threshold) == (name, 0.5)


def test_an_unknown_name_is_a_weights_error() -> None:
    with pytest.raises(WeightsError, match="graphcut"):
        candidate(Settings(model="graphcut"))
