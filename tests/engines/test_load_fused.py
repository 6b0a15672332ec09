from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iog.engines.torch_engine import load_fused
from iog.errors import WeightsError
from iog.models.checkpoint import Checkpoint, read_checkpoint
from iog.models.spec import own_spec
from networks.fused import FusedNetwork
from tests.random_weights import write_random_lite


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_random_lite(tmp_path / "random.pt")


Loaded = tuple[FusedNetwork, Checkpoint]


def load(weights: Path, folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    return load_fused(own_spec(weights), weights_dir=folder, dtype=dtype)


def answer(loaded: Loaded) -> torch.Tensor:
    x = torch.linspace(0, 255, 5 * 64 * 64).reshape(1, 5, 64, 64)
    with torch.inference_mode():
        logits: torch.Tensor = loaded[0](x, x[:, 2:])
    return logits


def test_weights_are_fused_once_and_then_mapped(weights: Path, tmp_path: Path) -> None:
    first = load(weights, tmp_path)
    (kept,) = (tmp_path / "fused").iterdir()
    written = kept.stat().st_mtime_ns
    second = load(weights, tmp_path)
    assert first[1].mapped
    assert second[1].mapped
    assert kept.stat().st_mtime_ns == written
    assert torch.equal(answer(first), answer(second))
    assert second[1].spec == read_checkpoint(weights).spec


def test_other_weights_take_the_place_of_those_before(weights: Path, tmp_path: Path) -> None:
    before = load(weights, tmp_path)
    checkpoint = torch.load(weights)
    for value in checkpoint["state_dict"].values():
        if value.is_floating_point():
            value *= 1.1
    torch.save(checkpoint, weights)
    after = load(weights, tmp_path)
    assert after[1].fused_from != before[1].fused_from
    assert not torch.equal(answer(before), answer(after))
    assert len(list((tmp_path / "fused").iterdir())) == 1


def test_damaged_fused_weights_are_made_again(weights: Path, tmp_path: Path) -> None:
    wanted = answer(load(weights, tmp_path))
    (kept,) = (tmp_path / "fused").iterdir()
    for damage in (b"", kept.read_bytes()[: 2**16], b"nonsense"):
        kept.write_bytes(damage)
        assert torch.equal(answer(load(weights, tmp_path)), wanted)


def test_a_folder_that_cannot_be_written_is_no_obstacle(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = load(weights, tmp_path / "file")  # a file, so nothing fits in it
    assert not found[1].mapped


def test_each_precision_has_a_file(weights: Path, tmp_path: Path) -> None:
    exact = load(weights, tmp_path)
    rounded = load(weights, tmp_path, torch.bfloat16)
    again = load(weights, tmp_path, torch.bfloat16)
    assert {p.dtype for p in exact[0].parameters()} == {torch.float32}
    for found in (rounded, again):
        backbone = found[0].backbone
        assert {p.dtype for p in backbone.layer1.parameters()} == {torch.float32}
        assert {p.dtype for p in backbone.layer2.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in found[0].psp.parameters()} == {torch.bfloat16}
    assert again[1].mapped
    assert len(list((tmp_path / "fused").iterdir())) == 2


def test_weights_that_are_not_those_asked_for_are_refused_even_if_fused(
    weights: Path, tmp_path: Path
) -> None:
    load(weights, tmp_path)
    with pytest.raises(WeightsError, match="IOG_WEIGHTS_SHA256"):
        load_fused(own_spec(weights), weights_dir=tmp_path, sha256="0" * 64)


def test_a_start_with_fused_weights_imports_no_compiler(weights: Path, tmp_path: Path) -> None:
    # torch's compiler takes a second and 90 MB, and comes with the first sum of meta tensors.
    load(weights, tmp_path)
    script = f"""
import sys
from pathlib import Path
from iog.engines.torch_engine import load_fused
from iog.models.spec import own_spec
assert load_fused(own_spec(Path({str(weights)!r})), weights_dir=Path({str(tmp_path)!r}))[1].mapped
assert not {{"torch._dynamo", "scipy"}} & set(sys.modules)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
