from __future__ import annotations

import hashlib
import tarfile
import urllib.error
from pathlib import Path
from typing import BinaryIO

import pytest
from typer.testing import CliRunner

from dataloaders.readers import open_dataset
from iog.cli import app
from iog.errors import DatasetError
from iog.evaluation import downloads
from tests.tiny_formats import photos, write_sbd, write_voc


class Internet:
    """Serves tiny archives under the data sets' addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []

    def offer(self, url: str, content: Path) -> tuple[str, str]:
        """Pack a folder; the answer is the address and the archive's MD5 sum."""
        name = url.rpartition("/")[2]
        with tarfile.open(self.folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for part in content.iterdir():
                archive.add(part, arcname=part.name)
        return url, hashlib.md5((self.folder / name).read_bytes()).hexdigest()

    def open(self, url: str, timeout: float) -> BinaryIO:
        self.fetched.append(url)
        return (self.folder / url.rpartition("/")[2]).open("rb")


@pytest.fixture
def internet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Internet:
    folder = tmp_path / "internet"
    folder.mkdir()
    net = Internet(folder)
    contents = {
        "voc": write_voc(tmp_path / "a", photos()),
        "sbd": write_sbd(tmp_path / "b", photos()),
    }
    for name, content in contents.items():
        offered = net.offer(downloads.ARCHIVES[name][0], content)
        monkeypatch.setitem(downloads.ARCHIVES, name, offered)
    monkeypatch.setattr(downloads, "urlopen", net.open)
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
    def fail(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(downloads, "urlopen", fail)
    with pytest.raises(DatasetError, match=r"VOCtrainval_11-May-2012\.tar could not .*no route"):
        downloads.download("voc", tmp_path / "data")


def test_the_command_line_downloads_before_it_reads(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no model.pt").touch()  # the data are read before it
    monkeypatch.setenv("IOG_MODEL", str(tmp_path / "no model.pt"))
    spec = f"voc:{tmp_path}/data"
    without = CliRunner().invoke(app, ["evaluate", "--data", spec])
    assert (without.exit_code, internet.fetched) == (1, [])
    assert "val.txt is missing; it is part of VOCtrainval_11-May-2012.tar" in without.output
    CliRunner().invoke(app, ["evaluate", "--data", spec, "--download"])
    assert len(internet.fetched) == 1
    assert len(open_dataset(spec, split="val")) == 1
