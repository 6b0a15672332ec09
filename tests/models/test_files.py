from __future__ import annotations

import hashlib
import logging
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BufferedReader
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iog.errors import WeightsError
from iog.models.files import check_hash, publish, read_torch, sha256_of, writing
from iog.models.spec import BUNDLED_DIR, REGISTRY, own_spec


class Harmful:
    """Unpickling this runs a command; the file it would make shows that it ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.proof}",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small state dict in both forms."""
    folder = tmp_path_factory.mktemp("whole")
    state = {f"layer{i}.weight": torch.rand(40, 40) for i in range(6)}
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_torch(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_both_forms_are_read_torch(whole: Path, form: str) -> None:
    content, mapped = read_torch(whole / form)
    assert isinstance(content, dict)
    assert len(content) == 6
    assert mapped == (form == "zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, world", "is not a PyTorch file."),
        (b"\x89PNG\r\n\x1a\n", "is not a PyTorch file."),
        (b"\n <!DOCTYPE html><html>", "a web page, which is what Google Drive sends"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:f9", "`git lfs pull`"),
        (pickle.dumps({"a": 1}, protocol=2), "damaged or cut off"),
        (pickle.dumps({"a": 1}, protocol=4), "damaged or cut off"),
        (b"PK\x03\x04 and no more", "damaged or cut off"),
    ],
)
def test_what_is_no_weights_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("word/document.xml", "is a zip archive, but not a PyTorch file"),
        ("archive/constants.pkl", "is a TorchScript program"),
        ("archive/data.pkl", "damaged or cut off"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, record: str, message: str) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(record, b"nothing")
    assert message in refusal(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_code_is_not_run(tmp_path: Path, legacy: bool) -> None:
    path, proof = tmp_path / "a.pth", tmp_path / "proof"
    torch.save({"a": Harmful(proof)}, path, _use_new_zipfile_serialization=not legacy)
    message = refusal(path)
    assert "holds more than tensors (posix.system)" in message
    assert "state_dict()" in message
    assert not proof.exists()


def test_a_bare_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "a.pth", tmp_path / "proof"
    path.write_bytes(pickle.dumps(Harmful(proof), protocol=2))
    refusal(path)
    assert not proof.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    assert "(torch.nn.modules.linear.Linear)" in refusal(tmp_path / "a.pth")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "a.pth")
    assert "cannot be read: Is a directory" in refusal(tmp_path)


MANY_FILES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("form", ["zip", "legacy"])
@given(share=st.floats(0, 1, exclude_max=True))
@MANY_FILES
def test_a_cut_off_file_is_refused(whole: Path, tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "cut.pth"
    content = (whole / form).read_bytes()
    path.write_bytes(content[: max(4, int(share * len(content)))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("form", ["zip", "legacy"])
@given(share=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=60))
@MANY_FILES
def test_a_damaged_file_gives_tensors_or_a_refusal(
    whole: Path, tmp_path: Path, form: str, share: float, junk: bytes
) -> None:
    content = bytearray((whole / form).read_bytes())
    start = int(share * len(content))
    content[start : start + len(junk)] = junk
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with suppress(WeightsError):
        assert isinstance(read_torch(path)[1], bool)


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello"
    path.write_bytes(b"hello")
    return path


HELLO = hashlib.sha256(b"hello").hexdigest()


def test_the_hash_the_user_gives_is_binding(hello: Path) -> None:
    assert sha256_of(hello) == HELLO
    assert check_hash(own_spec(hello), sha256=HELLO.upper()) == HELLO
    for spec in (own_spec(hello), REGISTRY["iog-pascal-sbd"], REGISTRY["iog-lite"]):
        with pytest.raises(WeightsError, match=r"IOG_WEIGHTS_SHA256\) asks for abc: get the right"):
            check_hash(replace(spec, path=hello), sha256="abc")


def test_the_hash_the_user_gives_replaces_the_tables(
    hello: Path, caplog: pytest.LogCaptureFixture
) -> None:
    confirmed = replace(REGISTRY["iog-pascal-sbd"], sha256_confirmed=True)
    assert check_hash(replace(confirmed, path=hello), sha256=HELLO) == HELLO
    assert not caplog.records


def test_a_confirmed_hash_is_binding(hello: Path) -> None:
    spec = replace(REGISTRY["iog-pascal-sbd"], sha256_confirmed=True)
    with pytest.raises(WeightsError, match="iog weights fetch iog-pascal-sbd"):
        check_hash(replace(spec, path=hello), sha256=None)
    assert check_hash(replace(spec, sha256=HELLO, path=hello), sha256=None) == HELLO


def test_the_bundled_model_is_refused_where_it_is_another_file(tmp_path: Path) -> None:
    bundled = BUNDLED_DIR / "iog-lite.pt"
    assert (
        check_hash(replace(REGISTRY["iog-lite"], path=bundled), sha256=None)
        == REGISTRY["iog-lite"].sha256
    )
    damaged = bytearray(bundled.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "iog-lite.pt").write_bytes(damaged)
    with pytest.raises(
        WeightsError, match=r"that comes with this project .*git checkout -- iog/models/"
    ):
        check_hash(replace(REGISTRY["iog-lite"], path=tmp_path / "iog-lite.pt"), sha256=None)
    assert check_hash(own_spec(tmp_path / "iog-lite.pt"), sha256=None) is None


def test_a_file_is_hashed_once_until_it_changes(
    hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(file: BufferedReader, name: str) -> object:
        read.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    assert [sha256_of(hello), sha256_of(hello)] == [HELLO, HELLO]
    assert len(read) == 2  # it is so new that it may change again at the same time

    monkeypatch.setattr("iog.models.files._SETTLED_NS", -1)
    assert [sha256_of(hello), sha256_of(hello)] == [HELLO, HELLO]
    assert len(read) == 3
    status = hello.stat()
    hello.write_bytes(b"olleh")
    os.utime(hello, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert sha256_of(hello) == hashlib.sha256(b"olleh").hexdigest()
    hello.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        sha256_of(hello)


def test_an_unconfirmed_hash_only_warns(hello: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = REGISTRY["iog-pascal-sbd"]
    assert check_hash(replace(spec, path=hello), sha256=None) == HELLO
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"IOG_WEIGHTS_SHA256={HELLO}" in record.getMessage()
    assert "is unconfirmed: nobody has compared" in record.getMessage()
    assert str(spec.sha256) in record.getMessage()
    caplog.clear()
    assert check_hash(replace(spec, sha256=HELLO, path=hello), sha256=None) == HELLO
    assert not caplog.records


def test_without_anything_to_compare_the_file_is_not_even_read(tmp_path: Path) -> None:
    assert check_hash(own_spec(tmp_path / "missing"), sha256=None) is None
    assert (
        check_hash(replace(REGISTRY["iog-pascal"], path=tmp_path / "missing"), sha256=None) is None
    )


def test_a_written_file_appears_complete_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pt"
    with writing(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    with suppress(KeyboardInterrupt), writing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_publishing_replaces(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"new")
    (tmp_path / "a.pt").write_bytes(b"old")
    publish(tmp_path / "staged", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == b"new"
    assert not (tmp_path / "staged").exists()
