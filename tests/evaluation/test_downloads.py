from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import urllib.error
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataloaders.readers import open_dataset
from iog.cli import app
from iog.errors import DatasetError
from iog.evaluation import downloads
from tests.tiny_formats import photos, write_sbd, write_voc

ROOT = Path(__file__).parents[2]


class Internet:
    """Serves tiny archives in torchvision's stead, under md5 sums that torchvision expects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []

    def offer(self, name: str, content: Path) -> str:
        """Pack a folder; the answer is the archive's md5 sum."""
        with tarfile.open(self.folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for part in content.iterdir():
                archive.add(part, arcname=part.name)
        return hashlib.md5((self.folder / name).read_bytes()).hexdigest()

    def retrieve(self, url: str, filename: str) -> None:
        self.fetched.append(url)
        shutil.copy(self.folder / url.rpartition("/")[2], filename)


@pytest.fixture
def internet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Internet:
    folder = tmp_path / "internet"
    folder.mkdir()
    net = Internet(folder)
    sets = downloads._torchvision_datasets()
    voc_md5 = net.offer("VOCtrainval_11-May-2012.tar", write_voc(tmp_path / "a", photos()))
    sbd_md5 = net.offer("benchmark.tgz", write_sbd(tmp_path / "b", photos()))
    monkeypatch.setitem(sets.voc.DATASET_YEAR_DICT["2012"], "md5", voc_md5)
    monkeypatch.setattr(sets.SBDataset, "md5", sbd_md5)
    monkeypatch.setattr(sets.utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(sets.utils, "_urlretrieve", net.retrieve)
    return net


@pytest.mark.parametrize("name", ["voc", "sbd"])
def test_a_download_can_be_read(name: str, internet: Internet, tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    downloads.download(name, root)
    assert len(open_dataset(f"{name}:{root}", split="val")) == 1
    assert len(internet.fetched) == 1


def test_only_what_is_missing_is_fetched(internet: Internet, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_voc(root, photos())
    downloads.complete(f"voc+sbd:{root}")
    assert [url.rpartition("/")[2] for url in internet.fetched] == ["benchmark.tgz"]
    downloads.complete(f"voc+sbd:{root}")
    assert len(internet.fetched) == 1


def test_half_a_data_set_is_completed_from_the_archive(internet: Internet, tmp_path: Path) -> None:
    downloads.complete(f"sbd:{tmp_path}/data")
    next((tmp_path / "data").rglob("2007_000002.mat")).unlink()
    downloads.complete(f"sbd:{tmp_path}/data")
    assert len(open_dataset(f"sbd:{tmp_path}/data", split=None)) == 6
    assert len(internet.fetched) == 1  # the archive was still there


def test_a_damaged_archive_is_refused(internet: Internet, tmp_path: Path) -> None:
    (internet.folder / "benchmark.tgz").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"benchmark\.tgz could not be fetched .* corrupted"):
        downloads.download("sbd", tmp_path / "data")


def test_no_network_is_a_sentence(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, filename: str) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(downloads._torchvision_datasets().utils, "_urlretrieve", fail)
    with pytest.raises(DatasetError, match=r"VOCtrainval_11-May-2012\.tar could not .*no route"):
        downloads.download("voc", tmp_path / "data")


def test_the_command_line_downloads_before_it_reads(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_MODEL", str(tmp_path / "no model.pt"))  # reading comes first
    spec = f"voc:{tmp_path}/data"
    without = CliRunner().invoke(app, ["evaluate", "--data", spec])
    assert (without.exit_code, internet.fetched) == (1, [])
    assert "val.txt is missing; it is part of VOCtrainval_11-May-2012.tar" in without.output
    CliRunner().invoke(app, ["evaluate", "--data", spec, "--download"])
    assert len(internet.fetched) == 1
    assert len(open_dataset(spec, split="val")) == 1


def test_torchvision_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads._torchvision_datasets.cache_clear()
    find = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name == "torchvision" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(DatasetError, match="pip install torchvision"):
        downloads.download("voc", tmp_path)


def test_torchvision_imports_quietly_in_a_fresh_interpreter() -> None:
    code = "from iog.evaluation import downloads; print(downloads._torchvision_datasets().__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("torchvision.datasets\n", "")
