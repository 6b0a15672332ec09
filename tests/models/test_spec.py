from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dataloaders.geometry import CropRule
from iog.errors import WeightsError
from iog.models.spec import BUNDLED_DIR, REGISTRY, installed, locate, own_spec, resolve
from networks import ARCHITECTURES


def test_the_registry_holds_the_four_models() -> None:
    assert [spec.name for spec in REGISTRY.values()] == [
        "iog-lite",
        "iog-pascal-sbd",
        "iog-pascal",
        "iog-pascal-sbd-refinement",
    ]
    assert all(REGISTRY[spec.name] is spec for spec in REGISTRY.values())
    assert [spec.architecture for spec in REGISTRY.values()] == [
        "iog-lite",
        "iog-resnet101",
        "iog-resnet101",
        "iog-resnet101-refinement",
    ]


def test_published_models_are_fed_as_the_authors_feed_them() -> None:
    published = [spec for spec in REGISTRY.values() if spec.published]
    assert len(published) == 3
    for spec in published:
        assert spec.crop == CropRule(
            input_size=512, margin_px=30, margin_ratio=0, corner_offset=10, fwhm=10, antialias=False
        )
        assert spec.threshold == 0.3
        assert re.fullmatch(r"https://drive\.google\.com/uc\?id=[\w-]{33}", spec.source)
        assert "no licence" in spec.licence
    assert len({spec.source for spec in published}) == 3


def test_the_one_known_hash_of_others_is_not_confirmed() -> None:
    known = [spec for spec in REGISTRY.values() if spec.sha256 is not None and spec.published]
    assert [spec.name for spec in known] == ["iog-pascal-sbd"]
    assert known[0].size == 209_133_432
    assert not known[0].sha256_confirmed


def test_the_bundled_file_is_the_one_in_the_registry() -> None:
    spec = REGISTRY["iog-lite"]
    content = (BUNDLED_DIR / spec.filename).read_bytes()
    size, digest = len(content), hashlib.sha256(content).hexdigest()
    assert spec.sha256_confirmed
    assert (spec.size, spec.sha256) == (size, digest), (
        f"{spec.filename} is another file than iog/models/spec.py says. If that is meant, write "
        f'into its spec {spec.name!r}: size={size:_}, sha256="{digest}",'
    )


def test_the_bundled_spec() -> None:
    spec = REGISTRY["iog-lite"]
    assert not spec.published
    assert spec.crop == CropRule(
        input_size=256,
        margin_px=6,
        margin_ratio=0.18,
        margin_limit=2,
        corner_offset=5,
        fwhm=7,
        antialias=True,
    )
    assert spec.threshold == 0.5


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REGISTRY["mine"] = REGISTRY["iog-lite"]  # type: ignore[index]


def test_every_architecture_has_a_registered_model() -> None:
    registered = {spec.architecture for spec in REGISTRY.values()}
    assert registered == set(ARCHITECTURES) - {"iog-lite-2"}  # of weights of your own only


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    bundled, own = tmp_path / "bundled", tmp_path / "own"
    bundled.mkdir()
    own.mkdir()
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", bundled)
    return bundled, own


def test_a_name_is_looked_for_beside_the_code_first(folders: tuple[Path, Path]) -> None:
    bundled, own = folders
    assert locate("iog-pascal", weights_dir=own) is None
    (own / "IOG_PASCAL.pth").touch()
    assert locate("iog-pascal", weights_dir=own) == own / "IOG_PASCAL.pth"
    (bundled / "IOG_PASCAL.pth").touch()
    path = bundled / "IOG_PASCAL.pth"
    assert resolve("iog-pascal", weights_dir=own) == replace(REGISTRY["iog-pascal"], path=path)


def test_a_path_is_taken_as_it_is(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, own = folders
    (own / "iog-pascal").touch()
    (own / "net.pth").touch()
    monkeypatch.chdir(own)
    monkeypatch.setenv("HOME", str(own))
    for given in ("./iog-pascal", "net.pth", str(own / "net.pth"), "~/net.pth"):
        spec = resolve(given, weights_dir=own)
        assert spec.architecture == ""
        assert spec.path is not None
        assert spec.path.is_file()
    assert locate("iog-pascal", weights_dir=own) is None  # a name, whatever lies in the folder


def test_a_checkpoint_in_the_weights_folder_has_a_name(folders: tuple[Path, Path]) -> None:
    _, own = folders
    for name in ("mine.pt", "other.pt", "iog-lite.pt", "IOG_PASCAL.pth"):
        (own / name).touch()
    assert installed(own) == ("mine", "other")
    assert resolve("mine", weights_dir=own) == own_spec(own / "mine.pt")
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
    assert (BUNDLED_DIR / "spec.py").is_file()
    assert BUNDLED_DIR.name == "models"


def description(**changes: object) -> dict[str, object]:
    spec = REGISTRY["iog-lite"]
    return {**spec.description("plain"), "metadata": {}, **changes}


def test_a_description_is_read_back() -> None:
    crop = CropRule(input_size=128, fwhm=4)
    spec = own_spec(Path("a.pt"), architecture="iog-lite", crop=crop, threshold=0.4)
    content = {**spec.description("fused"), "metadata": {}}
    found = own_spec(Path("a.pt")).described_by(content, where=Path("a.pt"), kind="fused")
    assert found == spec
    with pytest.raises(WeightsError, match="holds fused weights, and plain ones are needed"):
        spec.described_by(content, where=Path("a.pt"), kind="plain")


def test_files_of_version_1_call_the_input_size_frame() -> None:
    crop = {**asdict(CropRule()), "frame": 320}
    del crop["input_size"]
    content = description(version=1, crop=crop)
    del content["kind"]
    found = own_spec(Path("a.pt")).described_by(content, where=Path("a.pt"), kind="plain")
    assert found.crop == CropRule(input_size=320)


def test_a_description_of_another_network_changes_nothing() -> None:
    spec = REGISTRY["iog-pascal"]
    assert spec.described_by(description(), where=Path("a.pt"), kind="plain") is spec


def test_standings() -> None:
    digest, other = "a" * 64, "b" * 64
    spec = replace(REGISTRY["iog-pascal"], sha256=None)
    assert spec.standing(digest) == "has no known hash to compare with"
    for confirmed, given, standing in (
        (True, digest, "equals the published file"),
        (False, digest, "equals the public copy that is known, which nobody has confirmed"),
        (False, other, "differs from the public copy that is known, which nobody has confirmed"),
    ):
        assert replace(spec, sha256=digest, sha256_confirmed=confirmed).standing(given) == standing
    bundled = REGISTRY["iog-lite"]
    assert bundled.sha256 is not None
    assert bundled.standing(bundled.sha256) == "is the file of this project"
