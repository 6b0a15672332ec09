"""Weights of one's own get a name that everything else understands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iog.errors import WeightsError
from iog.models.checkpoint import install, read_checkpoint, write_checkpoint
from iog.models.spec import installed, resolve
from tests.random_weights import write_random_lite


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training's checkpoint: with what resuming needs, in fp16."""
    folder = tmp_path_factory.mktemp("trained")
    found = read_checkpoint(write_random_lite(folder / "random.pt"))
    path = folder / "last.pt"
    trained = replace(
        found,
        spec=replace(found.spec, threshold=0.4),
        metadata={"data": "nuclei"},
        training={"step": 7, "momentum": torch.zeros(100)},
    )
    write_checkpoint(path, trained, dtype=torch.float16)
    return path


def test_an_installed_file_is_loaded_by_its_name(trained: Path, tmp_path: Path) -> None:
    path = install(trained, "mine", folder=tmp_path / "new")
    assert path == tmp_path / "new" / "mine.pt"
    assert installed(tmp_path / "new") == ("mine",)
    found = read_checkpoint(resolve("mine", weights_dir=tmp_path / "new"))
    assert found.spec.name == "mine"
    assert found.spec.threshold == 0.4
    assert found.metadata == {"data": "nuclei"}


def test_only_what_serving_needs_is_kept_and_shared(trained: Path, tmp_path: Path) -> None:
    path = install(trained, "mine", folder=tmp_path)
    installed_file = read_checkpoint(path)
    assert installed_file.training == {}
    assert installed_file.mapped
    given = read_checkpoint(trained).state
    for key, value in installed_file.state.items():
        assert value.dtype in (torch.float32, torch.int64)
        assert torch.equal(value, given[key].to(value.dtype))


def test_a_name_is_not_given_twice_unless_forced(trained: Path, tmp_path: Path) -> None:
    path = install(trained, "mine", folder=tmp_path)
    path.write_bytes(b"older")
    with pytest.raises(WeightsError, match=r"mine\.pt.*--force"):
        install(trained, "mine", folder=tmp_path)
    assert path.read_bytes() == b"older"
    install(trained, "mine", folder=tmp_path, force=True)
    assert read_checkpoint(path).spec.architecture == "iog-lite"


@pytest.mark.parametrize("name", ["iog-lite", "iog-pascal", "IOG_PASCAL", "grabcut"])
def test_names_of_other_models_are_refused(trained: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="another model"):
        install(trained, name, folder=tmp_path, force=True)


@pytest.mark.parametrize("name", ["", "a/b", "..", "mine.pt", "-x", "a b", "é", "x" * 65])
def test_what_is_no_name_is_refused(trained: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="no name for weights"):
        install(trained, name, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_file_leaves_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a PyTorch file"):
        install(bad, "mine", folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"mine\.pt cannot be written"):
        install(trained, "mine", folder=tmp_path / "file")
