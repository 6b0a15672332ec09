from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataloaders.geometry import CropRule
from iog.errors import WeightsError
from iog.models.checkpoint import load, open_weights, read_checkpoint, save, verify
from iog.models.registry import BUNDLED_DIR, TABLE, WeightsRow
from iog.models.weightfiles import sha256_of
from networks import MainNetwork
from tests.models.conftest import COUNTER, KINDS, State, Write, optimiser_state

RandomState = Callable[[str], State]
SMAPS = Path("/proc/self/smaps")


def mapped_kib(path: Path) -> dict[str, int]:
    """KiB of this process's mappings of a file: in memory, and in copies of its own."""
    sums = {"Rss": 0, "Anonymous": 0}
    inside = False
    for line in SMAPS.read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.partition(":")[0] in sums:
            sums[line.partition(":")[0]] += int(line.split()[1])
    return sums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["iog-resnet101", "iog-lite"])
def test_every_kind_of_file_gives_the_same_network(
    random_state: RandomState, write: Write, tmp_path: Path, kind: str, architecture: str
) -> None:
    state = random_state(architecture)
    path = write(state, kind)
    model = load(str(path), weights_dir=tmp_path)

    assert not model.network.training
    loaded = model.network.state_dict()
    assert list(loaded) == list(state)
    for key, value in loaded.items():
        if key.endswith(COUNTER) and kind.endswith("no-counters"):
            assert torch.equal(value, torch.tensor(0))
        else:
            assert torch.equal(value, state[key]), key
    tensors = [*model.network.parameters(), *model.network.buffers()]
    assert not any(tensor.requires_grad or tensor.is_meta for tensor in tensors)

    assert model.path == path
    assert (model.row.name, model.row.architecture) == (path.stem, architecture)
    if kind in ("checkpoint", "training"):
        assert model.row.crop == CropRule(input_size=256, margin_ratio=0.5)
        assert model.row.threshold == 0.4
        assert model.metadata == {"commit": "abc", "iou": 0.8, "data": ["here"]}
    else:
        like = TABLE["iog-lite" if architecture == "iog-lite" else "iog-pascal-sbd"]
        assert (model.row.crop, model.row.threshold) == (like.crop, like.threshold)
        assert model.metadata == {}


@pytest.mark.parametrize("kind", ["zip", "legacy-no-counters"])
def test_a_refinement_file_is_recognised_by_its_keys(
    random_state: RandomState, write: Write, tmp_path: Path, kind: str
) -> None:
    state = random_state("iog-resnet101-refinement")
    model = load(str(write(state, kind)), weights_dir=tmp_path)
    assert model.row.architecture == "iog-resnet101-refinement"
    loaded = model.network.state_dict()
    assert all(
        torch.equal(loaded[key], value) for key, value in state.items() if "num_b" not in key
    )


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's account of mapped memory")
def test_a_zip_file_is_mapped_and_never_copied(
    random_state: RandomState, write: Write, tmp_path: Path
) -> None:
    path = write(random_state("iog-resnet101"), "zip")
    weights = open_weights(str(path), weights_dir=tmp_path)
    assert weights.mapped
    model = load(str(path), weights_dir=tmp_path)
    assert isinstance(model.network, MainNetwork)
    assert torch.stack([p.sum() for p in model.network.parameters()]).isfinite().all()
    kib = mapped_kib(path)
    assert kib["Rss"] > 200_000  # every page was touched ...
    assert kib["Anonymous"] == 0  # ... and belongs to the page cache, not to this process


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's account of mapped memory")
def test_a_legacy_file_is_read_instead(
    random_state: RandomState, write: Write, tmp_path: Path
) -> None:
    path = write(random_state("iog-lite"), "legacy")
    weights = open_weights(str(path), weights_dir=tmp_path)
    assert not weights.mapped
    assert mapped_kib(path)["Rss"] == 0


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_loaded_network_computes(
    random_state: RandomState, write: Write, tmp_path: Path, kind: str
) -> None:
    """Nothing is left of the network without values that the weights were put into."""
    model = load(str(write(random_state("iog-lite"), kind)), weights_dir=tmp_path)
    fine = model.network(torch.zeros(1, 5, 64, 64), torch.zeros(1, 2, 64, 64))[-1]
    assert (fine.device.type, fine.shape) == ("cpu", (1, 1, 16, 16))


def test_a_half_precision_checkpoint_is_half_as_large_and_loads_as_float32(
    random_state: RandomState, tmp_path: Path
) -> None:
    state = random_state("iog-lite")
    for name, dtype in (("half", torch.float16), ("full", torch.float32)):
        save(
            tmp_path / f"{name}.pt",
            state,
            architecture="iog-lite",
            crop=CropRule(),
            threshold=0.5,
            metadata={},
            dtype=dtype,
        )
    size = {name: (tmp_path / f"{name}.pt").stat().st_size for name in ("half", "full")}
    assert size["half"] < 10_000_000
    assert size["half"] < 0.6 * size["full"]
    model = load("half", weights_dir=tmp_path)
    assert model.row.name == "half"
    for key, value in model.network.state_dict().items():
        expected = state[key].half().float() if state[key].is_floating_point() else state[key]
        assert torch.equal(value, expected)
        assert value.dtype == state[key].dtype


def test_a_checkpoint_comes_back_whole(random_state: RandomState, write: Write) -> None:
    state = random_state("iog-lite")
    checkpoint = read_checkpoint(write(state, "training"))
    assert checkpoint.architecture == "iog-lite"
    assert checkpoint.training["step"] == 1
    wanted = optimiser_state()["optimiser"]
    torch.testing.assert_close(checkpoint.training["optimiser"], wanted)
    assert all(torch.equal(checkpoint.state[key], value) for key, value in state.items())
    assert read_checkpoint(write(state, "checkpoint")).training == {}
    with pytest.raises(WeightsError, match="not a checkpoint of this project"):
        read_checkpoint(write(state, "zip"))


def test_saving_twice_gives_the_same_bytes(random_state: RandomState, write: Write) -> None:
    state = random_state("iog-lite")
    assert sha256_of(write(state, "checkpoint")) == sha256_of(write(state, "checkpoint"))


def test_a_view_of_a_larger_tensor_does_not_take_it_along(
    random_state: RandomState, tmp_path: Path
) -> None:
    state = random_state("iog-lite").copy()
    state["backbone.bn1.bias"] = torch.zeros(10_000_000)[:32]
    path = tmp_path / "a.pt"
    save(path, state, architecture="iog-lite", crop=CropRule(), threshold=0.5, metadata={})
    assert path.stat().st_size < 20_000_000


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"threshold": 1.0}, ValueError, "threshold 1.0"),
        ({"threshold": float("nan")}, ValueError, "threshold nan"),
        ({"architecture": "iog-vit"}, ValueError, "iog-vit"),
        ({"architecture": "iog-resnet101"}, WeightsError, "is no iog-resnet101 .*missing, first"),
        ({"metadata": {"iou": float("nan")}}, ValueError, "JSON"),
        ({"metadata": {"path": object()}}, TypeError, "JSON"),
        ({"value": float("inf")}, WeightsError, "backbone.bn1.bias .* not finite"),
        (
            {"value": 70000.0, "dtype": torch.float16},
            WeightsError,
            "finite, stored as torch.float16",
        ),
    ],
)
def test_what_cannot_be_loaded_again_is_not_saved(
    random_state: RandomState,
    tmp_path: Path,
    change: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    state = random_state("iog-lite").copy()
    arguments: dict[str, object] = {
        "architecture": "iog-lite",
        "crop": CropRule(),
        "threshold": 0.5,
        "metadata": {},
    }
    arguments |= change
    if "value" in arguments:
        state["backbone.bn1.bias"] = torch.full((32,), arguments.pop("value"))  # type: ignore[call-overload]
    with pytest.raises(error, match=message):
        save(tmp_path / "a.pt", state, **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_network_is_refused_with_its_keys(
    random_state: RandomState, write: Write, small_row: WeightsRow, tmp_path: Path
) -> None:
    path = write(random_state("iog-resnet101"), "legacy-no-counters")
    path.rename(tmp_path / small_row.filename)
    with pytest.raises(WeightsError) as caught:
        load("small", weights_dir=tmp_path)
    message = str(caught.value)
    assert re.search(r"is no iog-lite \(\d+ missing, first \S+; ", message)
    assert re.search(r"; \d+ unexpected, first \S+; ", message)
    assert re.search(r"; \d+ misshapen, first \S+ \[[\d, ]+\] instead of \[[\d, ]+\]\); ", message)
    assert "it holds iog-resnet101: ask for a model of that network" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_network_is_refused_under_a_name(
    random_state: RandomState,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("iog.models.registry.BUNDLED_DIR", tmp_path / "bundled")
    write(random_state("iog-lite"), "checkpoint").rename(tmp_path / "IOG_PASCAL.pth")
    with pytest.raises(WeightsError, match=r"is no iog-resnet101 .* it holds iog-lite: ask for"):
        load("iog-pascal", weights_dir=tmp_path)


def test_a_checkpoint_under_a_name_of_the_table_keeps_its_own_crop_rule(
    random_state: RandomState, write: Write, small_row: WeightsRow, tmp_path: Path
) -> None:
    write(random_state("iog-lite"), "checkpoint").rename(tmp_path / small_row.filename)
    row = load("small", weights_dir=tmp_path).row
    assert row.crop == CropRule(input_size=256, margin_ratio=0.5)
    assert (row.name, row.licence) == ("small", small_row.licence)


def test_a_published_file_with_a_key_too_few_is_to_be_fetched_again(
    random_state: RandomState, write: Write, small_row: WeightsRow, tmp_path: Path
) -> None:
    state = random_state("iog-lite").copy()
    del state["backbone.conv1.weight"]
    path = write(state, "zip")
    path.rename(tmp_path / small_row.filename)
    with pytest.raises(
        WeightsError, match=r"1 missing, first backbone.conv1.weight.*weights fetch"
    ):
        load("small", weights_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.weight": torch.zeros(3)}, "1 unexpected, first fc.weight.*give a file of one of iog"),
        ({"epoch": 3, "model": {}}, "'epoch' is no tensor.*save network.state_dict"),
        ({3: torch.zeros(3)}, "3 is no tensor"),
        ([torch.zeros(3)], "holds a list, not named tensors"),
        (torch.zeros(3), "holds a Tensor, not named tensors"),
        ({}, "holds a dict, not named tensors"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load(str(path), weights_dir=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "iog-vit"},
        {"architecture": ["iog-lite"]},
        {"crop": {"input_size": 256}},
        {"crop": None},
        {"crop.input_size": 256.5},
        {"crop.antialias": 1},
        {"crop.later": 1},
        {"threshold": 1.5},
        {"threshold": "high"},
        {"metadata": None},
        {"training": []},
        {"state_dict": None},
        {"state_dict": {}},
        {"version": 3},
        {"version": None},
    ],
    ids=str,
)
def test_a_checkpoint_with_a_field_out_of_order_is_refused(
    random_state: RandomState, write: Write, tmp_path: Path, change: dict[str, object]
) -> None:
    content = torch.load(write(random_state("iog-lite"), "checkpoint"), weights_only=True)
    for key, value in change.items():
        outer, _, inner = key.partition(".")
        if inner:
            content[outer][inner] = value
        else:
            content[outer] = value
    path = tmp_path / "changed.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"changed\.pt (says|is a ch|holds)") as caught:
        load(str(path), weights_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_verify_describes_the_file(
    random_state: RandomState, write: Write, small_row: WeightsRow, tmp_path: Path
) -> None:
    write(random_state("iog-lite"), "checkpoint").rename(tmp_path / small_row.filename)
    path = tmp_path / small_row.filename
    report = verify("small", weights_dir=tmp_path)
    assert (report.path, report.size) == (path, path.stat().st_size)
    assert report.sha256 == sha256_of(path)
    assert report.mapped
    assert report.metadata["commit"] == "abc"
    assert report.standing == "no hash is known to compare with"
    report = verify("small", weights_dir=tmp_path, sha256=report.sha256.upper())
    assert "IOG_WEIGHTS_SHA256" in report.standing
    with pytest.raises(WeightsError, match="IOG_WEIGHTS_SHA256 asks for 0000"):
        verify(str(path), weights_dir=tmp_path, sha256="0" * 64)


def test_verify_tells_how_the_hash_compares(
    random_state: RandomState,
    write: Write,
    small_row: WeightsRow,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = write(random_state("iog-lite"), "zip").rename(tmp_path / small_row.filename)
    digest = sha256_of(path)
    for known, confirmed, standing in (
        (digest, True, "equals the published file"),
        (digest, False, "equals the public copy that is known, which nobody has confirmed"),
        ("0" * 64, False, "differs from the public copy that is known, which nobody has confirmed"),
    ):
        row = replace(small_row, sha256=known, sha256_confirmed=confirmed)
        monkeypatch.setattr("iog.models.registry.TABLE", {row.name: row})
        assert verify("small", weights_dir=tmp_path).standing == standing


def test_the_bundled_model_is_what_the_table_says() -> None:
    row = TABLE["iog-lite"]
    path = BUNDLED_DIR / row.filename
    model = load("iog-lite", weights_dir=Path("nowhere"))
    assert model.path == path
    assert model.row == row
    assert path.stat().st_size < 10_000_000
