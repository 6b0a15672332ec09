from __future__ import annotations

import hashlib
import logging
import re
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gdown
import pytest
from filelock import FileLock

from iog.errors import WeightsError
from iog.models.fetching import fetch
from iog.models.spec import REGISTRY, ModelSpec
from tests.models.conftest import State, Write

RandomState = Callable[[str], State]
PIECE = 512 * 1024
"""gdown keeps whole pieces of this size."""


@dataclass
class Mirror:
    """A web server with one file, and how it behaves."""

    content: bytes
    cut_after: int | None = None
    """Break off each answer after so many bytes."""
    ranges: bool = True
    """Go on in the middle when asked to."""
    status: int = 200
    address: str = ""
    asked: list[str] = field(default_factory=list)
    """The Range header of every request that came."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                mirror.asked.append(wanted)
                start = int(re.findall(r"\d+", wanted)[0]) if wanted and mirror.ranges else 0
                body, size = mirror.content[start:], len(mirror.content)
                self.send_response(206 if start else mirror.status)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"one"')
                self.end_headers()
                self.wfile.write(body[: mirror.cut_after])

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def content(random_state: RandomState, write: Write) -> bytes:
    """The bytes of a good file for ``small_model``."""
    return write(random_state("iog-lite"), "legacy-no-counters").read_bytes()


@pytest.fixture
def mirror(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # gdown's waits between retries
    mirror = Mirror(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), mirror.handler()) as server:
        mirror.address = f"http://127.0.0.1:{server.server_address[1]}/SMALL.pth"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield mirror
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(small_model: ModelSpec, tmp_path: Path) -> Path:
    """A weights folder that does not exist yet, for a table with only the small model."""
    return tmp_path / "deep" / "weights"


def files(folder: Path) -> list[str]:
    """What fetching left in the weights folder, the lock aside."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.suffix != ".lock")


def test_from_an_address(folder: Path, mirror: Mirror) -> None:
    told: list[tuple[int, int | None]] = []
    path = fetch(
        "small",
        weights_dir=folder,
        source=mirror.address,
        progress=lambda done, total: told.append((done, total)),
    )
    assert path == folder / "SMALL.pth"
    assert path.read_bytes() == mirror.content
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert files(folder) == ["SMALL.pth"]
    assert told[-1] == (len(mirror.content), len(mirror.content))


def test_a_download_that_breaks_off_goes_on_by_itself(folder: Path, mirror: Mirror) -> None:
    mirror.cut_after = 8 * PIECE + 5
    path = fetch("small", weights_dir=folder, source=mirror.address)
    assert path.read_bytes() == mirror.content
    assert mirror.asked == ["", f"bytes={8 * PIECE}-", f"bytes={16 * PIECE}-"]


def test_a_download_goes_on_where_an_earlier_one_stopped(folder: Path, mirror: Mirror) -> None:
    mirror.cut_after = 2 * PIECE + 5
    with pytest.raises(WeightsError, match="run the command again to go on"):
        fetch("small", weights_dir=folder, source=mirror.address)
    (left,) = files(folder)
    assert left.endswith(".part")
    (partial,) = folder.rglob(left)
    size = partial.stat().st_size
    assert size == 12 * PIECE  # the first try and five more

    mirror.cut_after = None
    mirror.asked.clear()
    path = fetch("small", weights_dir=folder, source=mirror.address)
    assert path.read_bytes() == mirror.content
    assert mirror.asked[-1] == f"bytes={size}-"
    assert files(folder) == ["SMALL.pth"]


def test_half_a_file_of_one_place_is_not_continued_from_another(
    folder: Path, mirror: Mirror
) -> None:
    mirror.cut_after = 2 * PIECE + 5
    with pytest.raises(WeightsError):
        fetch("small", weights_dir=folder, source=mirror.address)
    mirror.cut_after = None
    mirror.asked.clear()
    path = fetch("small", weights_dir=folder, source=mirror.address + "?other")
    assert path.read_bytes() == mirror.content
    assert mirror.asked == [""]


def test_a_server_that_cannot_go_on_in_the_middle_starts_again(
    folder: Path, mirror: Mirror
) -> None:
    mirror.cut_after, mirror.ranges = 2 * PIECE + 5, False
    with pytest.raises(WeightsError, match="run the command again"):
        fetch("small", weights_dir=folder, source=mirror.address)
    mirror.cut_after = None
    path = fetch("small", weights_dir=folder, source=mirror.address)
    assert path.read_bytes() == mirror.content


def test_a_broken_connection_keeps_what_is_there(
    folder: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.cut_after = 2 * PIECE + 5
    with pytest.raises(WeightsError):
        fetch("small", weights_dir=folder, source=mirror.address)
    before = files(folder)

    def refuse(**_: object) -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError as error:
            raise gdown.exceptions.DownloadError("Download failed after 5 retries: x") from error

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(WeightsError, match=r"\(ConnectionRefusedError\)"):
        fetch("small", weights_dir=folder, source=mirror.address)
    assert files(folder) == before


def test_an_address_without_the_file(folder: Path, mirror: Mirror) -> None:
    mirror.status = 404
    with pytest.raises(WeightsError, match=r"404 .*--from FILE\|URL") as caught:
        fetch("small", weights_dir=folder, source=mirror.address)
    assert "\n" not in str(caught.value)
    assert files(folder) == []


def test_no_server_at_all(folder: Path, mirror: Mirror) -> None:
    with pytest.raises(WeightsError, match=r"could not be downloaded from http://127.0.0.1:1/a"):
        fetch("small", weights_dir=folder, source="http://127.0.0.1:1/a")
    with pytest.raises(WeightsError, match=r"/a \([^()]*Connection refused\): run the command"):
        fetch("small", weights_dir=folder, source="http://127.0.0.1:1/a")


def test_a_web_page_in_place_of_the_file(folder: Path, mirror: Mirror) -> None:
    mirror.content = b"<html>Sign in</html>"
    with pytest.raises(
        WeightsError, match=r"small was not stored: what http.* gave is .* a web page"
    ):
        fetch("small", weights_dir=folder, source=mirror.address)
    assert files(folder) == []


def test_a_file_of_another_network(folder: Path, random_state: RandomState, write: Write) -> None:
    other = write(random_state("iog-resnet101"), "zip")
    with pytest.raises(
        WeightsError, match=r"was not stored: what .*zip-\d\.pth gave is no .*missing, first"
    ):
        fetch("small", weights_dir=folder, source=str(other))
    assert files(folder) == []
    assert other.exists()


@pytest.mark.parametrize("as_url", [False, True])
def test_from_a_file(folder: Path, content: bytes, tmp_path: Path, as_url: bool) -> None:
    given = tmp_path / "from here" / "my file.pth"
    given.parent.mkdir()
    given.write_bytes(content)
    source = given.as_uri() if as_url else str(given)
    path = fetch("small", weights_dir=folder, source=source)
    assert path == folder / "SMALL.pth"
    assert path.read_bytes() == content
    assert given.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pth", "There is no file nowhere.pth to take small from"),
        ("file:///nowhere/a.pth", "There is no file /nowhere/a.pth"),
        ("ftp://host/a.pth", "neither a file nor"),
        ("gs://bucket/a.pth", "neither a file nor"),
    ],
)
def test_sources_that_lead_nowhere(folder: Path, source: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        fetch("small", weights_dir=folder, source=source)
    assert files(folder) == []


def test_the_hash_the_user_gives_is_binding(folder: Path, content: bytes, mirror: Mirror) -> None:
    with pytest.raises(WeightsError, match=r"was not stored: .*IOG_WEIGHTS_SHA256\) asks for 00"):
        fetch("small", weights_dir=folder, source=mirror.address, sha256="0" * 64)
    assert files(folder) == []
    good = hashlib.sha256(content).hexdigest()
    assert fetch("small", weights_dir=folder, source=mirror.address, sha256=good).is_file()


def test_what_is_there_is_kept(folder: Path, mirror: Mirror) -> None:
    path = fetch("small", weights_dir=folder, source=mirror.address)
    mirror.asked.clear()
    assert fetch("small", weights_dir=folder) == path
    assert fetch("small", weights_dir=folder, source=mirror.address) == path
    assert mirror.asked == []


def test_what_is_there_but_damaged_is_fetched_anew(
    folder: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    (folder / "SMALL.pth").write_bytes(mirror.content[:-100])
    path = fetch("small", weights_dir=folder, source=mirror.address)
    assert path.read_bytes() == mirror.content
    assert "Fetching small anew" in caplog.text
    assert "cut off" in caplog.text


def test_a_damaged_file_beside_the_code_would_hide_a_fetched_one(
    folder: Path, tmp_path: Path, mirror: Mirror
) -> None:
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "SMALL.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"bundled/SMALL\.pth is not a PyTorch file"):
        fetch("small", weights_dir=folder, source=mirror.address)
    assert mirror.asked == []


def test_two_at_once_download_once(
    folder: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    waiting = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting" in record.getMessage():
                waiting.set()

    logger, handler = logging.getLogger("iog.models.fetching"), Told()
    logger.addHandler(handler)
    paths: list[Path] = []
    thread = threading.Thread(
        target=lambda: paths.append(fetch("small", weights_dir=folder, source=mirror.address))
    )
    (folder / ".fetch").mkdir(parents=True)
    try:
        with FileLock(folder / ".fetch" / "small.lock"):
            thread.start()
            assert waiting.wait(30)
            assert mirror.asked == []
            (folder / "SMALL.pth").write_bytes(mirror.content)  # what the other one fetches
        thread.join(30)
    finally:
        logger.removeHandler(handler)
    assert paths == [folder / "SMALL.pth"]
    assert mirror.asked == []


def test_a_folder_that_cannot_be_written(small_model: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"SMALL\.pth cannot be stored in .*file.* directory"):
        fetch("small", weights_dir=tmp_path / "file", source=str(tmp_path / "file"))


def test_names_that_cannot_be_fetched(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights 'big' to fetch\. Known are small"):
        fetch("big", weights_dir=folder)


def test_the_bundled_model_needs_no_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", tmp_path)
    with pytest.raises(WeightsError, match="git checkout"):
        fetch("iog-lite", weights_dir=tmp_path / "own")
    (tmp_path / "iog-lite.pt").touch()
    assert fetch("iog-lite", weights_dir=tmp_path / "own") == tmp_path / "iog-lite.pt"


def test_google_drive_gives_the_file_as_published(
    random_state: RandomState,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Full size: the form and the keys that the published file has."""
    monkeypatch.setattr("iog.models.spec.BUNDLED_DIR", tmp_path / "bundled")
    calls: list[dict[str, object]] = []

    def download(**arguments: object) -> object:
        calls.append(arguments)
        made = write(random_state("iog-resnet101"), "legacy-no-counters")
        made.rename(str(arguments["output"]))
        return arguments["output"]

    monkeypatch.setattr(gdown, "download", download)
    path = fetch("iog-pascal-sbd", weights_dir=tmp_path)
    assert path == tmp_path / "IOG_PASCAL_SBD.pth"
    assert 209_000_000 < path.stat().st_size < 209_300_000
    (call,) = calls
    assert call["url"] == REGISTRY["iog-pascal-sbd"].source
    assert call["resume"] is True
    assert "accepts it, and only it" in caplog.text  # random weights have another hash


def test_google_drive_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(**_: object) -> object:
        raise gdown.exceptions.FileURLRetrievalError("Failed to\n\nretrieve")

    monkeypatch.setattr(gdown, "download", download)
    with pytest.raises(WeightsError) as caught:
        fetch("small", weights_dir=folder)
    message = str(caught.value)
    assert "open https://drive.google.com/uc?id=small in a browser" in message
    assert "`iog weights fetch small --from FILE`" in message
    assert "\n" not in message
