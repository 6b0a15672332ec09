from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dataloaders.geometry import CropRule
from iog.errors import WeightsError
from iog.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from iog.models.files import sha256_of
from iog.models.spec import BUNDLED_DIR, REGISTRY, ModelSpec, own_spec, resolve
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
    model = read_checkpoint(path)
    network = model.network()

    assert not network.training
    loaded = network.state_dict()
    assert list(loaded) == list(state)
    for key, value in loaded.items():
        if key.endswith(COUNTER) and kind.endswith("no-counters"):
            assert torch.equal(value, torch.tensor(0))
        else:
            assert torch.equal(value, state[key]), key
    tensors = [*network.parameters(), *network.buffers()]
    assert not any(tensor.requires_grad or tensor.is_meta for tensor in tensors)

    assert model.spec.path == path
    assert (model.spec.name, model.spec.architecture) == (path.stem, architecture)
    if kind in ("checkpoint", "training"):
        assert model.spec.crop == CropRule(input_size=256, margin_ratio=0.5)
        assert model.spec.threshold == 0.4
        assert model.metadata == {"commit": "abc", "iou": 0.8, "data": ["here"]}
    else:
        like = REGISTRY["iog-lite" if architecture == "iog-lite" else "iog-pascal-sbd"]
        assert (model.spec.crop, model.spec.threshold) == (like.crop, like.threshold)
        assert model.metadata == {}


@pytest.mark.parametrize("kind", ["zip", "legacy-no-counters"])
def test_a_refinement_file_is_recognised_by_its_keys(
    random_state: RandomState, write: Write, tmp_path: Path, kind: str
) -> None:
    state = random_state("iog-resnet101-refinement")
    model = read_checkpoint(write(state, kind))
    assert model.spec.architecture == "iog-resnet101-refinement"
    loaded = model.network().state_dict()
    assert all(
        torch.equal(loaded[key], value) for key, value in state.items() if "num_b" not in key
    )


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's account of mapped memory")
def test_a_zip_file_is_mapped_and_never_copied(
    random_state: RandomState, write: Write, tmp_path: Path
) -> None:
    path = write(random_state("iog-resnet101"), "zip")
    model = read_checkpoint(path)
    assert model.mapped
    network = model.network()
    assert isinstance(network, MainNetwork)
    assert torch.stack([p.sum() for p in network.parameters()]).isfinite().all()
    kib = mapped_kib(path)
    assert kib["Rss"] > 200_000  # every page was touched ...
    assert kib["Anonymous"] == 0  # ... and belongs to the page cache, not to this process


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's account of mapped memory")
def test_a_legacy_file_is_read_instead(
    random_state: RandomState, write: Write, tmp_path: Path
) -> None:
    path = write(random_state("iog-lite"), "legacy")
    assert not read_checkpoint(path).mapped
    assert mapped_kib(path)["Rss"] == 0


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_loaded_network_computes(
    random_state: RandomState, write: Write, tmp_path: Path, kind: str
) -> None:
    """Nothing is left of the network without values that the weights were put into."""
    network = read_checkpoint(write(random_state("iog-lite"), kind)).network()
    fine = network(torch.zeros(1, 5, 64, 64), torch.zeros(1, 3, 64, 64))[-1]
    assert (fine.device.type, fine.shape) == ("cpu", (1, 1, 16, 16))


def test_a_half_precision_checkpoint_is_half_as_large_and_loads_as_float32(
    random_state: RandomState, tmp_path: Path
) -> None:
    state = random_state("iog-lite")
    for name, dtype in (("half", torch.float16), ("full", torch.float32)):
        path = tmp_path / f"{name}.pt"
        spec = own_spec(path, architecture="iog-lite")
        write_checkpoint(path, Checkpoint(spec, state), dtype=dtype)
    size = {name: (tmp_path / f"{name}.pt").stat().st_size for name in ("half", "full")}
    assert size["half"] < 10_000_000
    assert size["half"] < 0.6 * size["full"]
    model = read_checkpoint(resolve("half", weights_dir=tmp_path))
    assert model.spec.name == "half"
    for key, value in model.network().state_dict().items():
        expected = state[key].half().float() if state[key].is_floating_point() else state[key]
        assert torch.equal(value, expected)
        assert value.dtype == state[key].dtype


def test_a_checkpoint_comes_back_whole(random_state: RandomState, write: Write) -> None:
    state = random_state("iog-lite")
    checkpoint = read_checkpoint(write(state, "training"))
    assert checkpoint.spec.architecture == "iog-lite"
    assert checkpoint.training["step"] == 1
    wanted = optimiser_state()["optimiser"]
    torch.testing.assert_close(checkpoint.training["optimiser"], wanted)
    assert all(torch.equal(checkpoint.state[key], value) for key, value in state.items())
    assert read_checkpoint(write(state, "checkpoint")).training == {}


def test_saving_twice_gives_the_same_bytes(random_state: RandomState, write: Write) -> None:
    state = random_state("iog-lite")
    assert sha256_of(write(state, "checkpoint")) == sha256_of(write(state, "checkpoint"))


def test_a_view_of_a_larger_tensor_does_not_take_it_along(
    random_state: RandomState, tmp_path: Path
) -> None:
    state = random_state("iog-lite").copy()
    state["backbone.bn1.bias"] = torch.zeros(10_000_000)[:32]
    path = tmp_path / "a.pt"
    write_checkpoint(path, Checkpoint(own_spec(path, architecture="iog-lite"), state))
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
    if "value" in change:
        state["backbone.bn1.bias"] = torch.full((32,), change["value"])  # type: ignore[call-overload]
    spec = own_spec(
        tmp_path / "a.pt",
        architecture=change.get("architecture", "iog-lite"),  # type: ignore[arg-type]
        threshold=change.get("threshold", 0.5),  # type: ignore[arg-type]
    )
    checkpoint = Checkpoint(spec, state, change.get("metadata", {}))  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        write_checkpoint(
            tmp_path / "a.pt",
            checkpoint,
            dtype=change.get("dtype", torch.float32),  # type: ignore[arg-type]
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_network_is_refused_with_its_keys(
    random_state: RandomState, write: Write, small_model: ModelSpec, tmp_path: Path
) -> None:
    path = write(random_state("iog-resnet101"), "legacy-no-counters")
    path.rename(tmp_path / small_model.filename)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(resolve("small", weights_dir=tmp_path))
    message = str(caught.value)
    assert re.search(r"is no iog-lite \(\d+ missing, first \S+; ", message)
    assert re.search(r"; \d+ unexpected, first \S+; ", message)
    assert re.search(
        r"; \d+ with a shape mismatch, first \S+ \[[\d, ]+\] instead of \[[\d, ]+\]\); ", message
    )
    assert "it holds iog-resnet101: ask for a model of that network" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_network_is_refused_under_a_name(
    random_state: RandomState,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", tmp_path / "bundled")
    write(random_state("iog-lite"), "checkpoint").rename(tmp_path / "IOG_PASCAL.pth")
    with pytest.raises(WeightsError, match=r"is no iog-resnet101 .* it holds iog-lite: ask for"):
        read_checkpoint(resolve("iog-pascal", weights_dir=tmp_path))


def test_a_checkpoint_under_a_registered_name_keeps_its_own_crop_rule(
    random_state: RandomState, write: Write, small_model: ModelSpec, tmp_path: Path
) -> None:
    write(random_state("iog-lite"), "checkpoint").rename(tmp_path / small_model.filename)
    spec = read_checkpoint(resolve("small", weights_dir=tmp_path)).spec
    assert spec.crop == CropRule(input_size=256, margin_ratio=0.5)
    assert (spec.name, spec.licence) == ("small", small_model.licence)


def test_a_published_file_with_a_key_too_few_is_to_be_fetched_again(
    random_state: RandomState, write: Write, small_model: ModelSpec, tmp_path: Path
) -> None:
    state = random_state("iog-lite").copy()
    del state["backbone.conv1.weight"]
    path = write(state, "zip")
    path.rename(tmp_path / small_model.filename)
    with pytest.raises(
        WeightsError, match=r"1 missing, first backbone.conv1.weight.*weights fetch"
    ):
        read_checkpoint(resolve("small", weights_dir=tmp_path))


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
        read_checkpoint(path)


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
        {"version": 0},
        {"version": 4},
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
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_the_one_asked_for_is_refused(
    random_state: RandomState, write: Write
) -> None:
    path = write(random_state("iog-lite"), "checkpoint")
    assert read_checkpoint(path, sha256=sha256_of(path).upper()).metadata["commit"] == "abc"
    with pytest.raises(WeightsError, match=r"IOG_WEIGHTS_SHA256\) asks for 0000"):
        read_checkpoint(path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("bad", "flaw"),
    [
        (
            torch.zeros(32, dtype=torch.int8),
            r"torch.int8 \(torch.strided\) instead of torch.float32",
        ),
        (torch.zeros(32).to_sparse(), r"torch.sparse_coo\) instead of torch.float32"),
        (torch.zeros(()), r"\[\] instead of \[32\]"),
    ],
)
def test_a_tensor_has_to_be_of_a_usable_type(
    random_state: RandomState, tmp_path: Path, bad: torch.Tensor, flaw: str
) -> None:
    state = random_state("iog-lite").copy()
    state["backbone.bn1.weight"] = bad
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=f"1 with a shape mismatch, first backbone.*{flaw}"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_damaged_state_is_still_recognised(random_state: RandomState, write: Write) -> None:
    state = random_state("iog-resnet101-refinement").copy()
    for key in [key for key in state if key.startswith(("iog_points.", "Fine_net."))]:
        del state[key]
    with pytest.raises(WeightsError, match="is no iog-resnet101-refinement"):
        read_checkpoint(write(state, "zip"))


def test_a_fused_checkpoint_is_no_model(random_state: RandomState, tmp_path: Path) -> None:
    spec = own_spec(tmp_path / "a.pt", architecture="iog-lite")
    write_checkpoint(tmp_path / "a.pt", Checkpoint(spec, {"x": torch.ones(1)}, fused_from="abc"))
    found = read_checkpoint(tmp_path / "a.pt", fused=True)
    assert (found.fused_from, found.mapped, list(found.state)) == ("abc", True, ["x"])
    with pytest.raises(WeightsError, match="holds fused weights"):
        read_checkpoint(tmp_path / "a.pt")


def test_the_bundled_model_is_what_the_registry_says() -> None:
    spec = resolve("iog-lite", weights_dir=Path("nowhere"))
    assert spec.path == BUNDLED_DIR / spec.filename
    assert read_checkpoint(spec).spec == spec
    assert spec.path.stat().st_size < 10_000_000


@pytest.mark.parametrize(
    ("version", "stated", "architecture"),
    [(2, "iog-lite", "iog-lite-2"), (1, "iog-lite", "iog-lite-2"), (2, "iog-lite-3", "iog-lite")],
)
def test_older_files_have_older_names_of_architectures(
    random_state: RandomState, tmp_path: Path, version: int, stated: str, architecture: str
) -> None:
    path = tmp_path / "old.pt"
    state = random_state(architecture)
    write_checkpoint(path, Checkpoint(own_spec(path, architecture=architecture), state))
    content = torch.load(path, weights_only=True) | {"version": version, "architecture": stated}
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.spec.architecture == architecture
    checkpoint.network()
