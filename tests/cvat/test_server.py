"""Who you are to a CVAT server, and what its errors mean."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from cvat_sdk.core.auth import AuthStore, ProfileEntry
from cvat_sdk.core.client import AccessTokenCredentials

from iog.cvat.server import Frame, Server, connect
from iog.errors import DatasetError, SettingsError
from tests.cvat.stand_in import TOKEN, USER, Fault, StandIn, StandInJob, serving


@pytest.fixture
def cvat() -> StandIn:
    state = StandIn()
    state.jobs[1] = StandInJob(1, task=1, start=0, stop=0)
    state.frames[0] = b"the file"
    return state


@pytest.fixture
def url(cvat: StandIn) -> Iterator[str]:
    with serving(cvat) as address:
        yield address


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token, no user, no profiles of whoever runs the tests, no terminal."""
    for name in ("CVAT_ACCESS_TOKEN", "CVAT_USER", "PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("cvat_sdk.core.auth.get_auth_store_path", lambda: _store(tmp_path))
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)


def _store(tmp_path: Path) -> Path:
    return tmp_path / "config" / "auth.json"


def test_the_access_token_of_the_environment_is_used(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)

    assert connect(url).listed("jobs", task_id=1)[0]["id"] == 1


def test_user_and_password_log_in_and_may_change_annotations(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_USER", USER[0])
    monkeypatch.setenv("PASS", USER[1])

    server = connect(url)
    server.create(1, [])  # with the token against forged requests

    assert server.annotations(1)["shapes"] == []


def test_the_profile_of_the_address_is_used_and_no_other(
    url: str, cvat: StandIn, tmp_path: Path
) -> None:
    store = AuthStore(_store(tmp_path))
    store.put_profile("other", ProfileEntry("http://other", "other token", ""), set_default=True)
    store.put_profile("this", ProfileEntry(url, TOKEN, ""))

    assert connect(url + "/").url == url


def test_without_any_of_them_it_says_what_to_do(url: str, cvat: StandIn) -> None:
    with pytest.raises(SettingsError, match=r"Nothing says who you are .* CVAT_ACCESS_TOKEN"):
        connect(url)

    assert cvat.requests == []


def test_a_wrong_token_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "wrong")

    with pytest.raises(DatasetError, match="does not know who you are; put an access token into"):
        connect(url)


def test_a_wrong_password_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_USER", USER[0])
    monkeypatch.setenv("PASS", "wrong")

    with pytest.raises(DatasetError, match="Unable to log in with provided credentials"):
        connect(url)


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)

    with pytest.raises(SettingsError, match="ftp"):
        connect("ftp://x")


def test_what_is_secret_is_in_no_message(url: str) -> None:
    server = Server(url, AccessTokenCredentials(TOKEN), patience=0)

    assert TOKEN not in repr(server)
    assert TOKEN not in repr(Frame(server, 1, 0))


def test_a_frame_can_be_pickled_and_gets_the_uploaded_file(url: str) -> None:
    frame = Frame(Server(url, AccessTokenCredentials(TOKEN), patience=0), 1, 0)

    assert pickle.loads(pickle.dumps(frame))() == b"the file"


def test_a_frame_that_is_not_given_says_why(url: str, cvat: StandIn) -> None:
    frame = Frame(Server(url, AccessTokenCredentials(TOKEN), patience=0), 1, 7)

    with pytest.raises(OSError, match=r"status 400: .*The frame is not in the job"):
        frame()


def test_a_list_is_read_to_its_end(url: str, cvat: StandIn) -> None:
    for number in range(2, 8):
        cvat.jobs[number] = StandInJob(number, task=1, start=0, stop=0)
    cvat.faults = [Fault("500", "GET", r"/api/jobs\?.*page=2")]

    listed = Server(url, AccessTokenCredentials(TOKEN), patience=0).listed("jobs", task_id=1)

    assert [each["id"] for each in listed] == [1, 2, 3, 4, 5, 6, 7]
