"""Fetches PASCAL VOC 2012 and SBD through torchvision, which knows their addresses and md5 sums."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from pathlib import Path
from typing import Any, cast

from dataloaders.readers import missing_archives
from iog.errors import DatasetError

__all__ = ["complete", "download"]


def complete(spec: str) -> None:
    """Download what a data set, named as for ``open_dataset``, lacks; nothing if it is whole.

    Raises:
        DatasetError: it is no data set that can be downloaded, or the download failed.
    """
    for name, root in missing_archives(spec):
        download(name, root)


def download(name: str, root: Path) -> None:
    """Fetch an archive, unless a whole one lies in ``root``, and unpack it there.

    Args:
        name: ``voc`` or ``sbd``.
        root: the folder; made if it does not exist.

    Raises:
        DatasetError: torchvision is not installed, or the archive could not be had whole.
    """
    datasets = _torchvision_datasets()
    if name == "voc":
        voc = datasets.voc.DATASET_YEAR_DICT["2012"]
        url, filename, md5 = voc["url"], voc["filename"], voc["md5"]
    else:
        sbd = datasets.SBDataset
        url, filename, md5 = sbd.url, sbd.filename, sbd.md5
    root.mkdir(parents=True, exist_ok=True)
    # SBDataset's own download moves the files about and fails where some are already in place.
    fetch = datasets.utils.download_and_extract_archive
    try:
        with warnings.catch_warnings():
            # Python 3.12 and newer would like torchvision to name a filter for unpacking.
            warnings.simplefilter("ignore", DeprecationWarning)
            fetch(url, str(root), filename=filename, md5=md5)
    # A RuntimeError is a wrong md5 sum, an OSError the network's or the disk's.
    except (RuntimeError, OSError, EOFError) as error:
        raise DatasetError(
            f"{filename} could not be fetched from {url} ({error}); "
            f"put it into {root} by other means and run this again"
        ) from error


@functools.cache
def _torchvision_datasets() -> Any:  # noqa: ANN401 - a module without annotations
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise DatasetError(
            "Downloading needs torchvision: pip install torchvision==0.28.0, "
            "or everything in requirements-dev.txt"
        )
    _declare_operators(Path(found.origin).with_name("_C.so"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchvision.datasets

    return torchvision.datasets


def _declare_operators(compiled: Path) -> None:
    """Make torchvision importable beside a torch that its compiled part was not built for.

    The wheels on PyPI are built for CUDA; beside a CPU build of torch their operators cannot be
    loaded, and torchvision fails at its import because it describes them to torch all the same.
    Reading data sets needs none of them, so that names without code will do.
    """
    import torch

    load, declare = cast("tuple[Any, Any]", (torch.ops.load_library, torch.library.Library))
    if _DECLARED:
        return
    try:
        load(str(compiled))
    except OSError:
        library = declare("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)


_DECLARED: list[Any] = []
"""Kept alive: what a library declares goes with it."""
