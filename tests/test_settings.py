from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iog import settings
from iog.errors import SettingsError
from iog.settings import Settings, available_cores, default_weights_dir, unknown_variables


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    read = Settings.from_env({})

    assert read == Settings()
    assert read.model == "iog-lite"
    assert read.weights_dir == Path.home() / ".cache" / "iog"
    assert read.weights_sha256 is None
    assert (read.engine, read.precision, read.device) == ("auto", "fp32", "auto")
    assert read.threads is None
    assert read.threshold is None
    assert read.max_pixels == 178_000_000
    assert read.output is None
    assert read.cache_mb == 256


def test_every_variable_is_read(tmp_path: Path) -> None:
    read = Settings.from_env(
        {
            "IOG_MODEL": "iog-pascal-sbd",
            "IOG_WEIGHTS_DIR": str(tmp_path),
            "IOG_WEIGHTS_SHA256": "AB" * 32,
            "IOG_ENGINE": "torch",
            "IOG_PRECISION": "bf16",
            "IOG_DEVICE": "cpu",
            "IOG_THREADS": "3",
            "IOG_THRESHOLD": "0.25",
            "IOG_MAX_PIXELS": "1000",
            "IOG_OUTPUT": "shapes, polygon",
            "IOG_CACHE_MB": "0",
            "IOG_LOG_FORMAT": "json",
            "IOG_CORS_ORIGINS": "https://Example.org:8443/, http://[::1]:3000",
        }
    )

    assert read == Settings(
        model="iog-pascal-sbd",
        weights_dir=tmp_path,
        weights_sha256="ab" * 32,
        engine="torch",
        precision="bf16",
        device="cpu",
        threads=3,
        threshold=0.25,
        max_pixels=1000,
        output=("shapes", "polygon"),
        cache_mb=0,
        log_format="json",
        cors_origins=("https://example.org:8443", "http://[::1]:3000"),
    )


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOG_THREADS", "5")

    assert Settings.from_env().threads == 5


NAMES = (
    "IOG_MODEL",
    "IOG_WEIGHTS_DIR",
    "IOG_WEIGHTS_SHA256",
    "IOG_ENGINE",
    "IOG_PRECISION",
    "IOG_DEVICE",
    "IOG_THREADS",
    "IOG_THRESHOLD",
    "IOG_MAX_PIXELS",
    "IOG_OUTPUT",
    "IOG_CACHE_MB",
    "IOG_LOG_FORMAT",
    "IOG_CORS_ORIGINS",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_an_unset_one(name: str, value: str) -> None:
    assert Settings.from_env({name: value}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("IOG_ENGINE", "tensorrt", "auto, torch"),
        ("IOG_PRECISION", "fp64", "fp32, bf16"),
        ("IOG_PRECISION", "int8", "fp32, bf16"),
        ("IOG_DEVICE", "tpu", "auto, cpu, cuda"),
        (
            "IOG_OUTPUT",
            "mask,contour",
            "auto, or one or more of, separated by commas: mask, shapes",
        ),
        ("IOG_OUTPUT", "auto,mask", "mask, shapes, polygon, rle, png"),
        ("IOG_OUTPUT", ",", "mask, shapes, polygon, rle, png"),
        ("IOG_THREADS", "0", "a whole number from 1 to 1024"),
        ("IOG_THREADS", "two", "a whole number from 1 to 1024"),
        ("IOG_THREADS", "1.5", "a whole number from 1 to 1024"),
        ("IOG_THRESHOLD", "1.01", "a number above 0 and below 1"),
        ("IOG_THRESHOLD", "-0.1", "a number above 0 and below 1"),
        ("IOG_THRESHOLD", "0", "a number above 0 and below 1"),
        ("IOG_THRESHOLD", "1.0", "a number above 0 and below 1"),
        ("IOG_THRESHOLD", "nan", "a number above 0 and below 1"),
        ("IOG_THRESHOLD", "half", "a number above 0 and below 1"),
        ("IOG_MAX_PIXELS", "0", "a whole number from 1 to 2147483647"),
        ("IOG_LOG_FORMAT", "xml", "text, json"),
        ("IOG_CACHE_MB", "-1", "a whole number from 0 to 1048576"),
        ("IOG_CORS_ORIGINS", "example.org", "origins separated by commas: scheme, host and port"),
        ("IOG_CORS_ORIGINS", "https://example.org/page", "such as https://example.org"),
        ("IOG_CORS_ORIGINS", "https://*.example.org", "such as https://example.org"),
        ("IOG_CORS_ORIGINS", "https://example.org,", "separated by commas"),
        ("IOG_CORS_ORIGINS", "null", "*, or origins"),
        ("IOG_WEIGHTS_SHA256", "abc", "64 hexadecimal digits"),
        ("IOG_WEIGHTS_SHA256", "g" * 64, "64 hexadecimal digits"),
    ],
)
def test_an_unusable_value_is_named_with_what_is_allowed(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})

    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is {value!r}; it must be ")
    assert expected in sentence
    assert sentence.count("\n") == 0


def test_choices_are_read_in_any_case_and_repeats_count_once() -> None:
    read = Settings.from_env({"IOG_DEVICE": "CPU", "IOG_OUTPUT": "RLE,mask,rle"})

    assert read.device == "cpu"
    assert read.output == ("rle", "mask")


def test_all_origins_are_a_star() -> None:
    assert Settings.from_env({"IOG_CORS_ORIGINS": "*"}).cors_origins == ("*",)


@pytest.mark.parametrize("value", ["auto", " AUTO "])
def test_auto_leaves_the_outputs_to_the_client(value: str) -> None:
    assert Settings.from_env({"IOG_OUTPUT": value}).output is None


def test_a_tilde_in_the_weights_folder_means_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")

    assert Settings.from_env({"IOG_WEIGHTS_DIR": "~/w"}).weights_dir == Path("/somewhere/w")


def _no_home(*_: object) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_user_without_a_home_folder_gets_a_temporary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "home", _no_home)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    assert default_weights_dir() == tmp_path / "iog"


def test_a_tilde_without_a_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", _no_home)

    with pytest.raises(SettingsError, match="IOG_WEIGHTS_DIR is '~/w'; it must be a path without"):
        Settings.from_env({"IOG_WEIGHTS_DIR": "~/w"})


@given(name=st.sampled_from(NAMES), value=st.text(max_size=80))
def test_any_text_either_works_or_is_a_settings_error(name: str, value: str) -> None:
    with contextlib.suppress(SettingsError):
        assert Settings.from_env({name: value}).max_pixels >= 1


def test_the_digest_is_demanded_of_the_chosen_model_only() -> None:
    digest = "ab" * 32
    settings = Settings.from_env({"IOG_MODEL": "mine", "IOG_WEIGHTS_SHA256": digest})
    assert settings.sha256_of("mine") == digest
    assert settings.sha256_of("iog-lite") is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("IOG_MODLE", "did you mean IOG_MODEL?"),
        ("iog_model", "did you mean IOG_MODEL?"),
        ("IOG_CACHE", "did you mean IOG_CACHE_MB?"),
        ("IOG_MAXPIXELS", "did you mean IOG_MAX_PIXELS?"),
        ("IOG_SHA256", "did you mean IOG_WEIGHTS_SHA256?"),
        ("IOG_COLOUR", "docs/api.md lists them."),
        ("IOG_", "docs/api.md lists them."),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_the_nearest(name: str, advice: str) -> None:
    assert unknown_variables({name: "x", "PATH": "y"}) == [f"{name} is no setting; {advice}"]


KUBERNETES = (
    "IOG_SERVICE_HOST",
    "IOG_SERVICE_PORT",
    "IOG_SERVICE_PORT_HTTP",
    "IOG_PORT",
    "IOG_PORT_80_TCP",
    "IOG_PORT_80_TCP_ADDR",
    "IOG_LITE_SERVICE_HOST",
    "IOG_LITE_PORT_8080_TCP_PROTO",
)


@pytest.mark.parametrize("name", [*NAMES, *KUBERNETES, "IOGRAPH", "PATH"])
def test_settings_and_what_others_set_are_no_mistake(name: str) -> None:
    assert unknown_variables({name: "x"}) == []


def test_every_variable_that_the_project_names_is_known() -> None:
    root = Path(settings.__file__).parents[1]
    patterns = (
        "*.py", "*.yaml", "Dockerfile", "Makefile", "benchmarks/*.py", "iog/**/*.py",
        "networks/*.py", "deploy/**/*", "tests/endurance/*.py", "docs/*.md", "README.md",
    )  # fmt: skip
    files = [path for pattern in patterns for path in root.glob(pattern) if path.is_file()]
    named = {
        name
        for path in files
        # Without the names of published files, as in IOG_PASCAL.pth.
        for name in re.findall(r"\bIOG_[A-Z0-9_]*[A-Z0-9]\b(?!\.pth)", path.read_text())
    }

    assert set(NAMES) <= named
    assert unknown_variables(dict.fromkeys(named, "x")) == []


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("50000 100000", 1), ("250000 100000", 2), ("max 100000", 8), ("", 8)],
)
def test_quota_of_cgroup_version_2(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path) == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8)])
def test_quota_of_cgroup_version_1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == cores


@pytest.mark.usefixtures("eight_cores")
def test_without_a_quota_all_cores_count(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 8
