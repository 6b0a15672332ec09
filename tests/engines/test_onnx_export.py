"""ONNX files: what they say of themselves, and that they give the answers that torch gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

import iog
from dataloaders.geometry import CropRule
from iog.cli import app
from iog.cli.export import _crops
from iog.engines import onnx_export
from iog.engines.onnx_export import FEATURES, compare_onnx, export_onnx
from iog.engines.torch_engine import TorchEngine, load_fused
from iog.errors import SettingsError
from iog.models.checkpoint import Checkpoint
from iog.models.spec import own_spec, resolve
from networks.backbones import MobileNetV1
from networks.fused import fuse
from networks.main_network import MainNetwork
from tests.random_weights import write_random_lite

ROOT = Path(__file__).parents[2]
SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_lite(tmp_path_factory.mktemp("weights") / "random.pt", input_size=SIDE)


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    folder, parity = export_onnx(str(weights), weights_dir=weights.parent, threads=1)
    assert parity is not None
    assert parity["crops"] == 3
    assert parity["logit"] < 1e-3
    assert parity["worst_iou"] >= 0.999
    return folder


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def shapes(values: list[onnxruntime.NodeArg]) -> dict[str, list[int | str]]:
    return {value.name: value.shape for value in values}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float] | None]:
    weights_dir = tmp_path_factory.mktemp("bundled")
    return export_onnx("iog-lite", weights_dir=weights_dir, crops=_crops, threads=1)


def test_the_bundled_model_answers_as_torch_on_the_examples(
    bundled: tuple[Path, dict[str, float] | None],
) -> None:
    folder, parity = bundled
    assert folder.parts[-2:] == ("onnx", "iog-lite")
    assert {path.name for path in folder.iterdir()} == {"encoder.onnx", "decoder.onnx"}
    assert parity is not None
    assert parity["crops"] == 6
    assert parity["logit"] < 1e-3
    assert parity["worst_iou"] >= 0.999


def test_inputs_and_outputs_have_names_and_any_batch(exported: Path) -> None:
    encoder, decoder = session(exported / "encoder.onnx"), session(exported / "decoder.onnx")
    assert shapes(encoder.get_inputs()) == {"input": ["batch", 5, SIDE, SIDE]}
    features = shapes(encoder.get_outputs())
    assert tuple(features) == FEATURES
    assert {shape[0] for shape in features.values()} == {"batch"}
    taken = shapes(decoder.get_inputs())
    assert taken.pop("clicks")[2:] == [SIDE, SIDE]
    assert taken == features
    assert shapes(decoder.get_outputs()) == {"probability": ["batch", 1, SIDE, SIDE]}


def test_a_batch_gives_what_its_parts_give(exported: Path, weights: Path) -> None:
    encoder, decoder = session(exported / "encoder.onnx"), session(exported / "decoder.onnx")
    maps = decoder.get_inputs()[0].shape[1]
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 255, (3, 5, SIDE, SIDE)).astype(np.float32)
    clicks = rng.uniform(0, 255, (3, maps, SIDE, SIDE)).astype(np.float32)
    features = dict(zip(FEATURES, encoder.run(None, {"input": x}), strict=True))
    (found,) = decoder.run(None, {"clicks": clicks, **features})
    assert found.shape == (3, 1, SIDE, SIDE)
    spec = own_spec(weights)
    network, checkpoint = load_fused(spec, weights_dir=weights.parent)
    engine = TorchEngine(network, checkpoint.spec)
    for number in range(3):
        wanted = engine.decode(engine.encode(x[number]), clicks[number])
        np.testing.assert_allclose(found[number, 0], wanted, atol=1e-5)


def test_the_files_say_what_they_are_and_nothing_of_this_machine(
    exported: Path, weights: Path
) -> None:
    checkpoint = load_fused(own_spec(weights), weights_dir=weights.parent)[1]
    for name in ("encoder.onnx", "decoder.onnx"):
        model = onnx.load(exported / name)
        onnx.checker.check_model(model, full_check=True)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
        said = {each.key: each.value for each in model.metadata_props}
        assert CropRule(**json.loads(said["crop"])) == checkpoint.spec.crop
        assert float(said["threshold"]) == checkpoint.spec.threshold
        assert said["architecture"] == checkpoint.spec.architecture
        assert said["licence"] == checkpoint.spec.licence
        assert said["weights_sha256"] == checkpoint.fused_from
        content = (exported / name).read_bytes()
        assert str(ROOT).encode() not in content
        assert str(Path(torch.__file__).parent).encode() not in content


def test_without_a_click_branch_the_encoder_does_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    network = fuse(MainNetwork(MobileNetV1(8), decoder_width=16, psp_width=32).eval())
    weights = write_random_lite(tmp_path / "any.pt", input_size=SIDE)
    spec = load_fused(own_spec(weights), weights_dir=tmp_path)[1].spec
    checkpoint = Checkpoint(spec, {}, fused_from="0" * 64)
    monkeypatch.setattr(onnx_export, "load_fused", lambda *_, **__: (network, checkpoint))
    folder, parity = export_onnx(str(weights), weights_dir=tmp_path, threads=1)
    assert [path.name for path in folder.iterdir()] == ["encoder.onnx"]
    outputs = shapes(session(folder / "encoder.onnx").get_outputs())
    assert outputs == {"probability": ["batch", 1, SIDE, SIDE]}
    assert parity is not None
    assert parity["logit"] < 1e-3


@pytest.mark.parametrize(("architecture", "maps"), [("iog-lite", 3), ("iog-lite-2", 2)])
def test_a_network_that_reads_a_mask_has_a_third_map(
    tmp_path: Path, architecture: str, maps: int
) -> None:
    weights = write_random_lite(tmp_path / "m.pt", input_size=SIDE, architecture=architecture)
    folder, found = export_onnx(str(weights), weights_dir=tmp_path, threads=1)
    assert found is not None
    assert found["logit"] < 1e-3
    clicks = onnx.load(folder / "decoder.onnx").graph.input[0]
    assert [d.dim_value for d in clicks.type.tensor_type.shape.dim][1:] == [maps, SIDE, SIDE]


def test_a_comparison_sees_other_weights(exported: Path, tmp_path: Path) -> None:
    spec = resolve("iog-lite", weights_dir=tmp_path)
    network, _ = load_fused(spec, weights_dir=tmp_path)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (5, SIDE, SIDE)).astype(np.float32)
    crops = [(x, np.zeros((2, SIDE, SIDE), np.float32))]
    assert compare_onnx(network, exported, spec, crops)["logit"] > 0.1


def test_the_command_writes_and_shows_how_near_it_comes(weights: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["export", str(weights), "--format", "onnx", "--output", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "random" / "decoder.onnx").exists()
    assert f"Wrote {tmp_path / 'random'}" in done.stderr
    assert re.search(r"random\s+fp32\s+0\.000", done.stdout)
    assert CliRunner().invoke(app, ["export", "--format", "onyx"]).exit_code == 2


def test_what_is_missing_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*names: str) -> None:
        monkeypatch.setattr(
            onnx_export, "find_spec", lambda name: None if name in names else object()
        )

    without("onnxscript")
    with pytest.raises(SettingsError, match="needs onnxscript: `pip install onnx onnxscript`"):
        export_onnx(str(weights), weights_dir=weights.parent)
    without("onnxruntime")
    monkeypatch.setattr(onnx_export, "_write", lambda *_: None)
    folder, parity = export_onnx(str(weights), weights_dir=weights.parent / "other", threads=1)
    assert parity is None
    assert folder.is_dir()


def test_the_program_in_the_page_gives_the_masks_of_the_predictor(
    bundled: tuple[Path, object], tmp_path: Path, plain_environment: dict[str, str]
) -> None:
    page = (ROOT / "docs" / "models.md").read_text().partition("## ONNX")[2]
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "iog export iog-lite --format onnx --output onnx\n" in page
    (tmp_path / "onnx").symlink_to(bundled[0].parent)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "program.py").write_text(f"{program}\nnp.savez('masks', mask=mask, better=better)")
    environment = {**plain_environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, env=environment, check=True)
    found = np.load(tmp_path / "masks.npz")

    model = iog.load("iog-lite", engine="torch", threads=1)
    model.set_image(ROOT / "examples" / "coffee.jpg")
    box, click, negative = (130, 50, 480, 370), (300, 200), [(450, 120), (160, 330)]
    mask = model.predict(box, [click], [1])
    better = model.predict(box, [click, *negative], [1, 0, 0])
    assert better.area != mask.area
    for wanted, name in ((mask, "mask"), (better, "better")):
        assert np.mean(found[name] != wanted.array) < 1e-4
