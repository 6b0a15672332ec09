"""The OpenVINO engine: exports, how near they come to torch, and serving without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iog.cli.export import _crops
from iog.engines.engine import find_export, read_manifest
from iog.engines.export import export
from iog.errors import SettingsError
from iog.models.spec import ModelSpec, own_spec, resolve
from iog.settings import Settings
from model_handler import ModelHandler
from tests.random_weights import write_random_lite

ROOT = Path(__file__).parent.parent.parent
pytest.importorskip("openvino")

from iog.engines.openvino_engine import CORE, OpenVINOEngine  # noqa: E402


@pytest.fixture(autouse=True)
def _nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iog.engines.engine.BUNDLED_DIR", tmp_path / "nothing")


def lite() -> ModelSpec:
    return resolve("iog-lite", weights_dir=Path("nowhere"))


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def exported(weights_dir: Path) -> Path:
    return export("iog-lite", weights_dir=weights_dir, crops=_crops, threads=1)


def test_answers_are_those_of_torch(exported: Path) -> None:
    parity = read_manifest(exported)["metadata"]["parity"]
    exact = parity["fp32"]
    assert exact["crops"] == 6
    assert exact["logit"] < 1e-3
    assert exact["iou"] >= 0.999
    if "bf16" in parity:  # as far as this CPU has it
        rounded = parity["bf16"]
        assert rounded["iou"] >= 0.99
        assert rounded["probability"] > exact["probability"]


def test_a_network_that_reads_a_mask_answers_as_torch_too(tmp_path: Path) -> None:
    weights = write_random_lite(tmp_path / "any.pt", input_size=64, architecture="iog-lite")
    folder = export(str(weights), weights_dir=tmp_path, crops=_crops, threads=1)
    exact = read_manifest(folder)["metadata"]["parity"]["fp32"]
    assert exact["crops"] == 6
    assert exact["logit"] < 1e-3
    assert exact["iou"] >= 0.999
    engine = OpenVINOEngine(folder, resolve(str(weights), weights_dir=tmp_path), threads=1)
    assert engine.click_maps == 3
    encoded = engine.encode(np.zeros((5, 64, 64), np.float32))
    maps = np.zeros((3, 64, 64), np.float32)
    without = engine.decode(encoded, maps)
    maps[2, 16:48, 16:48] = 255
    assert np.abs(engine.decode(encoded, maps) - without).max() > 1e-4


def test_first_layers_stay_in_fp32(exported: Path) -> None:
    if "BF16" not in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    hint = {"INFERENCE_PRECISION_HINT": "bf16"}
    compiled = CORE.compile_model(exported / "encoder.xml", "CPU", hint)
    precisions: dict[str, set[str]] = {"backbone.layer1": set(), "backbone.layer2": set()}
    for node in compiled.get_runtime_model().get_ops():
        information = node.get_rt_info()
        if information["layerType"].astype(str) == "Convolution":
            for module, found in precisions.items():
                if module in information["originalLayersNames"].astype(str):
                    found.add(information["runtimePrecision"].astype(str))
    assert precisions == {"backbone.layer1": {"f32"}, "backbone.layer2": {"bf16"}}


def test_an_export_says_what_it_is(exported: Path, weights_dir: Path) -> None:
    spec = lite()
    assert find_export(spec, weights_dir=weights_dir) == (exported, "")
    files = {"encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"}
    assert {path.name for path in exported.iterdir()} == files | {"model.json"}
    manifest = read_manifest(exported)
    assert set(manifest["files"]) == files
    assert manifest["weights_sha256"] == spec.sha256
    engine = OpenVINOEngine(exported, spec, threads=1)
    assert engine.spec == spec
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert engine.has_click_branch


def settings(weights_dir: Path, **changes: Any) -> Settings:  # noqa: ANN401
    return replace(
        Settings(weights_dir=weights_dir, device="cpu", threads=1, engine="auto"), **changes
    )


def test_auto_takes_an_export_that_is_there(exported: Path, weights_dir: Path) -> None:
    said = ModelHandler(settings(weights_dir)).describe()
    assert (said["engine"], said["device"]) == ("openvino", "cpu")
    assert ModelHandler(settings(weights_dir, engine="torch")).describe()["engine"] == "torch"


def test_serving_imports_no_torch(exported: Path, weights_dir: Path) -> None:
    photo = b64encode((ROOT / "examples" / "astronaut.jpg").read_bytes()).decode()
    request = {"image": photo, "obj_bbox": [[5, 4], [370, 512]], "pos_points": [[190, 320]]}
    script = """
import json, sys
import main
from model_handler import ModelHandler
from iog.settings import Settings
settings = Settings.from_env()
model = ModelHandler(settings)
answer = main.respond(main.Function(settings, model), json.load(sys.stdin))
mask = json.loads(answer.body)["mask"]
print(json.dumps([answer.status, model.describe()["engine"], sum(map(sum, mask)),
                  sorted({"torch", "nncf", "scipy"} & set(sys.modules))]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"IOG_WEIGHTS_DIR": str(weights_dir), "IOG_DEVICE": "cpu", "IOG_THREADS": "1"},
        input=json.dumps({**request, "neg_points": []}),
        capture_output=True,
        text=True,
        check=True,
    )
    status, engine, area, heavy = json.loads(done.stdout.splitlines()[-1])
    assert (status, engine, heavy) == (200, "openvino", [])
    assert area > 10_000


@pytest.mark.long
def test_models_for_fp32_alone_lie_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.winograd._LEAST_CHANNELS", 16)  # or iog-lite would have none
    weights = write_random_lite(tmp_path / "random.pt", input_size=64)
    folder = export(str(weights), weights_dir=tmp_path, threads=1)
    spec = own_spec(weights)
    assert find_export(spec, weights_dir=tmp_path) == (folder, "")
    plain, quick = folder / "decoder.bin", folder / "fp32" / "decoder.bin"
    assert quick.stat().st_size > plain.stat().st_size
    assert read_manifest(folder)["metadata"]["parity"]["fp32"]["logit"] < 1e-3
    OpenVINOEngine(folder, spec, threads=1)
    quick.unlink()
    found, reason = find_export(spec, weights_dir=tmp_path)
    assert found is None
    assert "damaged" in reason


def test_an_encoded_crop_outlives_the_next(exported: Path) -> None:
    engine = OpenVINOEngine(exported, lite(), threads=1)
    (x, clicks), (other, _) = _crops(lite())[:2]
    clicks = np.concatenate([clicks, np.zeros_like(clicks[:1])])
    encoded = engine.encode(x)
    wanted = engine.decode(encoded, clicks)
    engine.decode(engine.encode(other), clicks)
    assert (engine.decode(encoded, clicks) == wanted).all()
    assert engine.nbytes(encoded) > 100_000


# What a notebook does: two engines one after the other, a training with a worker, Ctrl-C.
TOGETHER = """
import gc, signal, sys
from pathlib import Path
from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from iog.engines.openvino_engine import OpenVINOEngine
from iog.models.spec import resolve
from tests.tiny_dataset import write_folder
from iog.training import loop
from iog.training.config import TrainingConfig

# A shell that runs the tests in the background has its children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
weights, out = map(Path, sys.argv[1:])
spec = resolve("iog-lite", weights_dir=weights)
export = weights / "openvino" / "iog-lite"
for _ in range(3):
    engine = OpenVINOEngine(export, spec, threads=1)  # the one before goes when this one is there
del engine
gc.collect()
config = TrainingConfig(
    crop=CropRule(input_size=64, margin_px=4, margin_ratio=0.18, corner_offset=2, fwhm=4),
    small_frame=48, steps=1, batch=2, warm_up=1, validate_every=0, threads=1, workers=1,
)
data = InstanceMasks(write_folder(out / "data", photos=3), split="train")
loop.train(config, data, None, initial=None, out=out / "run", device="cpu", described="discs")
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("alive")
"""


@pytest.mark.long
def test_a_process_trains_and_takes_signals_after_openvino_ran(
    exported: Path, weights_dir: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(weights_dir), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["alive"]), done.stderr


def test_stale_and_damaged_exports_are_not_used(
    exported: Path, weights_dir: Path, tmp_path: Path
) -> None:
    weights = write_random_lite(tmp_path / "iog-lite.pt")
    shutil.copytree(exported, tmp_path / "openvino" / "iog-lite")
    found, reason = find_export(own_spec(weights), weights_dir=tmp_path)
    assert found is None
    assert "stale" in reason
    said = ModelHandler(settings(tmp_path, model=str(weights))).describe()
    assert said["engine"] == "torch"
    (tmp_path / "openvino" / "iog-lite" / "decoder.bin").unlink()
    found, reason = find_export(lite(), weights_dir=tmp_path)
    assert found is None
    assert "damaged" in reason


def test_an_export_of_the_second_iog_lite_is_still_used(tmp_path: Path) -> None:
    weights = write_random_lite(tmp_path / "own.pt", input_size=64, architecture="iog-lite-2")
    folder = export(str(weights), weights_dir=tmp_path, threads=1)
    manifest = json.loads((folder / "model.json").read_text())
    manifest |= {"version": 2, "architecture": "iog-lite"}
    (folder / "model.json").write_text(json.dumps(manifest))
    assert find_export(own_spec(weights), weights_dir=tmp_path) == (folder, "")
    engine = OpenVINOEngine(folder, own_spec(weights), threads=1)
    assert (engine.spec.architecture, engine.click_maps) == ("iog-lite-2", 2)


def test_what_openvino_cannot_do_is_refused(
    exported: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, said in (
        ({"device": "cuda"}, r"the device 'cuda' \(IOG_DEVICE\), but OpenVINO"),
        ({"precision": "fp16"}, "fp32, bf16"),
    ):
        with pytest.raises(SettingsError, match=said):
            ModelHandler(settings(weights_dir, engine="openvino", **changes))
    monkeypatch.setattr("iog.engines.engine.openvino_is_installed", lambda: False)
    assert ModelHandler(settings(weights_dir)).describe()["engine"] == "torch"
    with pytest.raises(SettingsError, match=r"-r requirements\.txt"):
        ModelHandler(settings(weights_dir, engine="openvino"))


def test_without_torch_a_model_that_was_not_exported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "iog.engines.engine.find_spec", lambda name: None if name == "torch" else object()
    )
    with pytest.raises(SettingsError, match="iog export iog-lite"):
        ModelHandler(settings(tmp_path, engine="openvino"))
    with pytest.raises(SettingsError, match="needs torch, which is not installed"):
        ModelHandler(settings(tmp_path, engine="torch"))


def test_a_cpu_without_bf16_says_so(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iog.engines.openvino_engine.CORE.get_property", lambda *_: ["FP32"])
    with pytest.raises(SettingsError, match="bf16"):
        OpenVINOEngine(exported, lite(), precision="bf16", threads=1)
