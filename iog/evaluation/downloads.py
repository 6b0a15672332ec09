"""Fetches PASCAL VOC 2012 and the Semantic Boundaries Dataset (SBD) from their authors' servers."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from dataloaders.readers import missing_archives
from iog.errors import DatasetError

__all__ = ["complete", "download"]

ARCHIVES: Final = {
    "voc": (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
    "sbd": (
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
        "benchmark.tgz",
        "82b4d87ceb2ed10f6038a1cba92111cb",
    ),
}
"""Addresses and MD5 sums, as torchvision has them."""
_CHUNK: Final = 1 << 20


def complete(spec: str) -> None:
    """Download what a data set, named as for ``open_dataset``, lacks; nothing if it is whole.

    Raises:
        DatasetError: it is no data set that can be downloaded, or the download failed.
    """
    for name, root in missing_archives(spec):
        download(name, root)


def download(name: str, root: Path) -> None:
    """Fetch an archive, unless a whole one is in ``root``, and unpack it there.

    Args:
        name: ``voc`` or ``sbd``.
        root: the folder; made if it does not exist.

    Raises:
        DatasetError: the archive could not be had whole.
    """
    url, md5 = ARCHIVES[name]
    archive = root / url.rpartition("/")[2]
    root.mkdir(parents=True, exist_ok=True)
    try:
        if not archive.is_file() or _md5(archive) != md5:
            with urlopen(url, timeout=60) as source, archive.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
            if _md5(archive) != md5:
                raise OSError("the file is corrupted")
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DatasetError(
            f"{archive.name} could not be fetched from {url} ({error}); "
            f"put it into {root} by other means and run this again"
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
