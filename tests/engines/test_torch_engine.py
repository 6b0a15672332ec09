from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iog.engines.torch_engine import TorchEngine, choose_device, choose_dtype, start_torch
from iog.errors import SettingsError
from iog.models.spec import REGISTRY, resolve
from networks import build_network
from networks.fused import fuse

LITE = REGISTRY["iog-lite"]


def _input(side: int = 64) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (5, side, side)).astype(np.float32)


def _clicks(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maps of the click branch: of the first clicks, and no mask to correct."""
    return np.concatenate([x[3:], np.zeros_like(x[:1])])


@pytest.fixture(scope="module")
def lite() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network("iog-lite").eval()


def test_probabilities_have_the_size_of_the_network_frame(lite: torch.nn.Module) -> None:
    engine, x = TorchEngine(fuse(lite), LITE), _input()
    assert engine.has_click_branch
    assert (engine.spec, engine.name, engine.device, engine.precision) == (
        LITE,
        "torch",
        "cpu",
        "fp32",
    )
    probability = engine.decode(engine.encode(x), _clicks(x))
    assert probability.shape == (64, 64)
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_the_fine_prediction_is_used_and_the_sigmoid_taken(lite: torch.nn.Module) -> None:
    engine, x = TorchEngine(fuse(lite), LITE), _input()
    with torch.inference_mode():
        fine = lite(torch.from_numpy(x[None]), torch.from_numpy(_clicks(x)[None]))[-1]
        fine = torch.nn.functional.interpolate(
            fine, size=(64, 64), mode="bilinear", align_corners=True
        )
    np.testing.assert_allclose(
        engine.decode(engine.encode(x), _clicks(x)), torch.sigmoid(fine)[0, 0].numpy(), atol=1e-5
    )


def test_a_network_without_click_branch_ignores_later_clicks() -> None:
    torch.manual_seed(0)
    network = fuse(build_network("iog-resnet101").eval())
    engine, x = TorchEngine(network, REGISTRY["iog-pascal"]), _input()
    assert not engine.has_click_branch
    encoded = engine.encode(x)
    first = engine.decode(encoded, x[3:])
    assert np.array_equal(first, engine.decode(encoded, np.zeros_like(x[3:])))
    assert engine.nbytes(encoded) == 64 * 64 * 4


def test_bf16_is_close_to_fp32(lite: torch.nn.Module) -> None:
    x = _input()
    exact = TorchEngine(fuse(lite), LITE)
    rounded = TorchEngine(fuse(lite).cast(torch.bfloat16), LITE, precision="bf16")
    a, b = exact.decode(exact.encode(x), _clicks(x)), rounded.decode(rounded.encode(x), _clicks(x))
    assert 0 < np.abs(a - b).max() < 0.2


def test_encoded_crops_know_their_size(lite: torch.nn.Module) -> None:
    engine = TorchEngine(fuse(lite), LITE)
    # FineNet's part at stride 4, two laterals, PSP's direct part; then its 50 pooled cells.
    per_pixel = 144 / 16 + 96 / 64 + (96 + 256) / 256
    assert engine.nbytes(engine.encode(_input())) == (int(per_pixel * 64 * 64) + 128 * 50) * 4


def test_devices_and_precisions_that_are_not_here_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(SettingsError, match=r"The device is 'cuda' \(IOG_DEVICE\), but"):
        choose_device("cuda")
    with pytest.raises(SettingsError, match="fp16"):
        choose_dtype("fp16", "cpu")
    assert choose_dtype("fp16", "cuda") is torch.float16
    monkeypatch.setattr("iog.engines.torch_engine._cpu_has_bf16", lambda: False)
    with pytest.raises(SettingsError, match="AVX-512"):
        choose_dtype("bf16", "cpu")


def test_each_network_has_its_threads_beside_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start() -> TorchEngine:
        spec = resolve("iog-lite", weights_dir=tmp_path)
        return start_torch(
            spec, weights_dir=tmp_path, sha256=None, precision="fp32", device="cpu", threads=2
        )

    x = _input()
    before = torch.get_num_threads()
    try:
        small = start()
        monkeypatch.setattr("iog.engines.torch_engine._WORTH_THREADS", 1_000)
        large = start()
        for engine, threads in ((small, 1), (large, 2), (small, 1)):
            encoded = engine.encode(x)
            assert torch.get_num_threads() == threads
            engine.decode(encoded, _clicks(x))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
