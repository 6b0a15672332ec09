from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iog.engines.folded import LoadedForm, load_form
from iog.errors import WeightsError
from iog.models.checkpoint import load
from tests.random_weights import write_random_lite


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_random_lite(tmp_path / "random.pt")


def answer(form: LoadedForm) -> torch.Tensor:
    x = torch.linspace(0, 255, 5 * 64 * 64).reshape(1, 5, 64, 64)
    with torch.inference_mode():
        logits: torch.Tensor = form.network(x, x[:, 3:])
    return logits


def test_weights_are_folded_once_and_then_mapped(weights: Path, tmp_path: Path) -> None:
    first = load_form(str(weights), weights_dir=tmp_path)
    (kept,) = (tmp_path / "folded").iterdir()
    written = kept.stat().st_mtime_ns
    second = load_form(str(weights), weights_dir=tmp_path)
    assert first.mapped
    assert second.mapped
    assert kept.stat().st_mtime_ns == written
    assert torch.equal(answer(first), answer(second))
    assert second.row.crop == load(str(weights), weights_dir=tmp_path).row.crop


def test_other_weights_take_the_place_of_those_before(weights: Path, tmp_path: Path) -> None:
    before = load_form(str(weights), weights_dir=tmp_path)
    checkpoint = torch.load(weights)
    for value in checkpoint["state_dict"].values():
        if value.is_floating_point():
            value *= 1.1
    torch.save(checkpoint, weights)
    after = load_form(str(weights), weights_dir=tmp_path)
    assert after.sha256 != before.sha256
    assert not torch.equal(answer(before), answer(after))
    assert len(list((tmp_path / "folded").iterdir())) == 1


def test_damaged_folded_weights_are_made_again(weights: Path, tmp_path: Path) -> None:
    wanted = answer(load_form(str(weights), weights_dir=tmp_path))
    (kept,) = (tmp_path / "folded").iterdir()
    for damage in (b"", kept.read_bytes()[: 2**16], b"nonsense"):
        kept.write_bytes(damage)
        assert torch.equal(answer(load_form(str(weights), weights_dir=tmp_path)), wanted)


def test_a_folder_that_cannot_be_written_is_no_obstacle(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    form = load_form(str(weights), weights_dir=tmp_path / "file")  # a file, so nothing fits in it
    assert not form.mapped


def test_each_precision_has_a_file(weights: Path, tmp_path: Path) -> None:
    exact = load_form(str(weights), weights_dir=tmp_path)
    rounded = load_form(str(weights), weights_dir=tmp_path, dtype=torch.bfloat16)
    again = load_form(str(weights), weights_dir=tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in exact.network.parameters()} == {torch.float32}
    for form in (rounded, again):
        backbone = form.network.backbone
        assert {p.dtype for p in backbone.layer1.parameters()} == {torch.float32}
        assert {p.dtype for p in backbone.layer2.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in form.network.context.parameters()} == {torch.bfloat16}
    assert again.mapped
    assert len(list((tmp_path / "folded").iterdir())) == 2


def test_weights_that_are_not_those_asked_for_are_refused_even_if_folded(
    weights: Path, tmp_path: Path
) -> None:
    load_form(str(weights), weights_dir=tmp_path)
    with pytest.raises(WeightsError, match="IOG_WEIGHTS_SHA256"):
        load_form(str(weights), weights_dir=tmp_path, sha256="0" * 64)


def test_a_start_with_folded_weights_imports_no_compiler(weights: Path, tmp_path: Path) -> None:
    # torch's compiler takes a second and 90 MB, and comes with the first sum of meta tensors.
    load_form(str(weights), weights_dir=tmp_path)
    script = f"""
import sys
from pathlib import Path
from iog.engines.folded import load_form
assert load_form({str(weights)!r}, weights_dir=Path({str(tmp_path)!r})).mapped
assert not {{"torch._dynamo", "scipy"}} & set(sys.modules)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
