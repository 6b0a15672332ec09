"""Fetch published weights into the weights folder, once and completely.

A file is downloaded next to its place, checked, and only then moved there in one step. A lock
keeps two processes from fetching the same file; a download that was cut off goes on where it
stopped. Nothing in here is called while a request is answered.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from iog.errors import WeightsError
from iog.models.checkpoint import read_checkpoint
from iog.models.files import publish
from iog.models.spec import ModelSpec, locate, resolve, spec_of

__all__ = ["Progress", "fetch"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and the bytes in all, if the server says how many."""

_LOG: Final = logging.getLogger(__name__)
_RETRIES: Final = 5
_TIMEOUT_S: Final = (10.0, 60.0)  # to connect, and between two pieces of the body


def fetch(
    name: str,
    *,
    weights_dir: Path,
    source: str | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Get a registered model into the weights folder, unless it is there already.

    Args:
        name: of a registered model.
        weights_dir: the folder to put the file into; made when missing.
        source: a file, or a file, http or https address, to use in place of the published one.
        sha256: refuse any file but the one with this hash (``IOG_WEIGHTS_SHA256``).
        progress: told how far the download is.

    Returns:
        Where the file lies.

    Raises:
        WeightsError: the name is unknown, the file cannot be had, or it is not what it has to be:
            complete, of the model's network, and of the hash that is binding.
    """
    spec = spec_of(name)
    if source is None and not spec.published:
        return resolve(name, weights_dir=weights_dir).file
    target = weights_dir / spec.filename
    try:
        with _lock(weights_dir / ".fetch" / f"{spec.name}.lock"):
            present = locate(name, weights_dir=weights_dir)
            if present is not None and _keep(present, spec, replaceable=target, sha256=sha256):
                return present
            _fetch(spec, target, source=source or spec.source, sha256=sha256, progress=progress)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(
            f"{spec.filename} cannot be stored in {weights_dir}: {reason}."
        ) from error
    return target


def _keep(present: Path, spec: ModelSpec, *, replaceable: Path, sha256: str | None) -> bool:
    """Whether the file that is there already is good.

    Raises:
        WeightsError: it is not, and it is not ``replaceable``.
    """
    try:
        read_checkpoint(replace(spec, path=present), sha256=sha256)
    except WeightsError as error:
        if present != replaceable:  # a bundled one would hide whatever is fetched
            raise
        _LOG.warning("Fetching %s anew: %s", spec.name, error)
        return False
    return True


def _fetch(
    spec: ModelSpec, target: Path, *, source: str, sha256: str | None, progress: Progress | None
) -> None:
    # One folder for each source: a half download must not be continued from another file.
    folder = target.parent / ".fetch" / hashlib.sha256(source.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / spec.filename
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme in ("http", "https"):
        _download(source, staged, spec=spec, progress=progress)
    elif scheme in ("", "file"):
        path = url2pathname(urlsplit(source).path) if scheme else os.path.expanduser(source)
        if not os.path.isfile(path):
            raise WeightsError(f"There is no file {path} to take {spec.name} from.")
        shutil.copyfile(path, staged)
    else:
        raise WeightsError(f"{source} is neither a file nor a file, http or https address.")
    try:
        read_checkpoint(replace(spec, path=staged), sha256=sha256)
    except WeightsError as error:
        shutil.rmtree(folder)
        message = str(error).replace(str(staged), f"what {source} gave")
        raise WeightsError(f"{spec.name} was not stored: {message}") from error
    publish(staged, target)
    shutil.rmtree(folder)


def _download(url: str, staged: Path, *, spec: ModelSpec, progress: Progress | None) -> None:
    """Let gdown write ``staged``; what an earlier attempt left beside it is continued."""
    # Imported here: serving never downloads.
    import gdown
    import requests

    while True:
        left = _partial_sizes(staged)
        try:
            gdown.download(
                url=url,
                output=str(staged),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=progress,
                timeout=_TIMEOUT_S,
                retries=_RETRIES,
            )
            return
        except gdown.exceptions.FileURLRetrievalError as error:
            raise WeightsError(
                f"Google Drive does not hand out {spec.filename} at the moment (it limits popular "
                f"files): open {url} in a browser and run `iog weights fetch {spec.name} --from "
                "FILE`, or try again later."
            ) from error
        except (gdown.exceptions.DownloadError, requests.RequestException) as error:
            refused = isinstance(error, gdown.exceptions.DownloadError) and not error.__cause__
            if refused and left and _partial_sizes(staged) == left:
                # The server would not continue from there, or what is there is not one download.
                shutil.rmtree(staged.parent)
                staged.parent.mkdir()
                continue
            raise WeightsError(
                f"{spec.filename} could not be downloaded from {url} ({_reason(error)}): run the "
                f"command again to go on, or use `iog weights fetch {spec.name} --from FILE|URL`."
            ) from error


def _reason(error: Exception) -> str:
    """What is at the bottom of a download's error, without the names of Python's objects."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    return text.partition("\n")[0].rpartition("): ")[2].rstrip(".:")


def _partial_sizes(staged: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in staged.parent.iterdir()}


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.warning("Another process is fetching the same weights; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
