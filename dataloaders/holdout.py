"""Some photographs of a data set kept apart, for data that has no split of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dataloaders import DatasetError
from dataloaders.samples import Dataset, Sample

__all__ = ["Part", "hold_out"]


class Part:
    """Some objects of a data set.

    Args:
        whole: the data set.
        indices: the objects' numbers in it, in the order wanted.
    """

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self._whole = whole
        self._indices = list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._indices[index]]

    def subset(self, index: int) -> str:
        """The part of the data set that object ``index`` comes from, without decoding it."""
        return self._whole.subset(self._indices[index])

    def image_id(self, index: int) -> str:
        """The name of the photograph that object ``index`` is on, without decoding it."""
        return self._whole.image_id(self._indices[index])


def hold_out(objects: Dataset, share: float) -> tuple[Part, Part]:
    """Divide a data set by photographs, into those to learn from and those to be judged by.

    A photograph's place follows from its name alone, as far as the share allows: training and
    evaluation find the same division without a file, and a larger export of the same task moves
    few photographs across.

    Args:
        objects: with photographs under at least two names.
        share: of the photographs to hold out, above 0 and below 1; at least one is held out and
            one kept.

    Returns:
        The objects kept and the objects held out.

    Raises:
        DatasetError: all objects are on one photograph.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} holds out nothing or everything")
    names = [objects.image_id(i) for i in range(len(objects))]
    ranked = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(ranked) < 2:
        raise DatasetError(
            "All objects are on one photograph, so none can be held out for scoring: annotate "
            "more photographs, or give validation data of its own"
        )
    count = min(max(round(share * len(ranked)), 1), len(ranked) - 1)
    apart = set(ranked[:count])
    return (
        Part(objects, [i for i, name in enumerate(names) if name not in apart]),
        Part(objects, [i for i, name in enumerate(names) if name in apart]),
    )
