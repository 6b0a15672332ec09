from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from dataloaders.geometry import CropRule
from iog.errors import WeightsError
from iog.models.registry import BUNDLED_DIR, TABLE, installed, locate, resolve, rows
from networks import ARCHITECTURES


def test_the_table_holds_the_four_models() -> None:
    assert [row.name for row in rows()] == [
        "iog-lite",
        "iog-pascal-sbd",
        "iog-pascal",
        "iog-pascal-sbd-refinement",
    ]
    assert all(TABLE[row.name] is row for row in rows())
    assert [row.architecture for row in rows()] == [
        "iog-lite",
        "iog-resnet101",
        "iog-resnet101",
        "iog-resnet101-refinement",
    ]


def test_published_rows_are_fed_as_the_authors_feed_them() -> None:
    published = [row for row in rows() if row.published]
    assert len(published) == 3
    for row in published:
        assert row.crop == CropRule(
            input_size=512, margin_px=30, margin_ratio=0, corner_offset=10, fwhm=10, antialias=False
        )
        assert row.threshold == 0.3
        assert re.fullmatch(r"https://drive\.google\.com/uc\?id=[\w-]{33}", row.source)
        assert "no licence" in row.licence
    assert len({row.source for row in published}) == 3


def test_the_one_known_hash_of_others_is_not_confirmed() -> None:
    known = [row for row in rows() if row.sha256 is not None and row.published]
    assert [row.name for row in known] == ["iog-pascal-sbd"]
    assert known[0].size == 209_133_432
    assert not known[0].sha256_confirmed


def test_the_bundled_file_is_the_one_in_the_table() -> None:
    row = TABLE["iog-lite"]
    content = (BUNDLED_DIR / row.filename).read_bytes()
    size, digest = len(content), hashlib.sha256(content).hexdigest()
    assert row.sha256_confirmed
    assert (row.size, row.sha256) == (size, digest), (
        f"iog/models/{row.filename} is another file than registry.py says. If that is meant, "
        f'write into its row {row.name!r}: size={size:_}, sha256="{digest}",'
    )


def test_the_bundled_row() -> None:
    row = TABLE["iog-lite"]
    assert not row.published
    assert row.crop == CropRule(
        input_size=256,
        margin_px=6,
        margin_ratio=0.18,
        margin_limit=2,
        corner_offset=5,
        fwhm=7,
        antialias=True,
    )
    assert row.threshold == 0.5


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TABLE["mine"] = TABLE["iog-lite"]  # type: ignore[index]


def test_every_architecture_has_a_row() -> None:
    assert {row.architecture for row in rows()} == set(ARCHITECTURES)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    bundled, own = tmp_path / "bundled", tmp_path / "own"
    bundled.mkdir()
    own.mkdir()
    monkeypatch.setattr("iog.models.registry.BUNDLED_DIR", bundled)
    return bundled, own


def test_a_name_is_looked_for_beside_the_code_first(folders: tuple[Path, Path]) -> None:
    bundled, own = folders
    assert locate("iog-pascal", weights_dir=own) is None
    (own / "IOG_PASCAL.pth").touch()
    assert locate("iog-pascal", weights_dir=own) == own / "IOG_PASCAL.pth"
    (bundled / "IOG_PASCAL.pth").touch()
    row, path = resolve("iog-pascal", weights_dir=own)
    assert path == bundled / "IOG_PASCAL.pth"
    assert row is TABLE["iog-pascal"]


def test_a_path_is_taken_as_it_is(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, own = folders
    (own / "iog-pascal").touch()
    (own / "net.pth").touch()
    monkeypatch.chdir(own)
    monkeypatch.setenv("HOME", str(own))
    for given in ("./iog-pascal", "net.pth", str(own / "net.pth"), "~/net.pth"):
        row, path = resolve(given, weights_dir=own)
        assert row is None
        assert path.is_file()
    assert locate("iog-pascal", weights_dir=own) is None  # a name, whatever lies in the folder


def test_a_checkpoint_in_the_weights_folder_has_a_name(folders: tuple[Path, Path]) -> None:
    _, own = folders
    for name in ("mine.pt", "other.pt", "iog-lite.pt", "IOG_PASCAL.pth"):
        (own / name).touch()
    assert installed(own) == ("mine", "other")
    assert resolve("mine", weights_dir=own) == (None, own / "mine.pt")
    assert installed(own / "missing") == ()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "iog-pascal",
            ["`iog weights fetch iog-pascal`", "IOG_PASCAL.pth", "{own}", "IOG_MODEL=iog-lite"],
        ),
        ("iog-lite", ["git checkout -- iog/models/iog-lite.pt", "{own}"]),
        ("nothing", ["'nothing'", "iog-pascal-sbd-refinement", "mine"]),
        ("", ["''", "iog-lite"]),
        ("no/such/file.pth", ["no/such/file.pth", "does not exist"]),
        ("~nobody-by-that-name/x.pt", ["does not exist"]),
        ("a\0b.pt", ["does not exist"]),
        ("{own}/", ["is a folder"]),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    folders: tuple[Path, Path], name: str, parts: list[str]
) -> None:
    _, own = folders
    (own / "mine.pt").touch()
    name = name.format(own=own)
    assert locate(name, weights_dir=own) is None
    with pytest.raises(WeightsError) as caught:
        resolve(name, weights_dir=own)
    message = str(caught.value)
    assert all(part.format(own=own) in message for part in parts), message
    assert "\n" not in message


def test_the_bundled_folder_is_the_projects_own() -> None:
    assert (BUNDLED_DIR / "registry.py").is_file()
    assert BUNDLED_DIR.name == "models"
