"""Opens a data set from the one word that the command line gives for it."""

from __future__ import annotations

from pathlib import Path

from dataloaders.instance_masks import InstanceMasks
from dataloaders.samples import Dataset
from errors import DatasetError

FORMS = "masks:DIR_OR_TAR"


def open_dataset(spec: str, *, split: str | None) -> Dataset:
    """The objects of one split of a data set.

    Args:
        spec: one of ``FORMS``.
        split: the part to read, as the data set names it; ``None`` takes everything.

    Raises:
        DatasetError: the spec has another form, or a file of the data set is missing.
    """
    kind, _, where = spec.partition(":")
    if not where:
        raise DatasetError(f"{spec!r} names no data set; give one of {FORMS}")
    if kind == "masks":
        return InstanceMasks(Path(where), split=split)
    raise DatasetError(f"There is no data set format {kind!r}; give one of {FORMS}")
