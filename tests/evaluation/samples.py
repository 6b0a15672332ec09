"""Objects and models that are easy to foresee."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from dataloaders.samples import Sample
from iog.prompts import Prompt


def disc_sample(*, side: int, number: int = 0, image_id: str = "disc", subset: str = "") -> Sample:
    """A bright noisy disc of a third of the side on a dark noisy ground."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] + 0.5
    mask = np.hypot(rows - side / 2, columns - side / 2) < side / 3
    image = rng.integers(0, 60, (side, side, 3), np.uint8)
    image[mask] += 150
    return Sample(
        image=image,
        mask=mask,
        void=np.zeros_like(mask),
        image_id=image_id,
        object_index=number,
        category="disc",
        subset=subset,
    )


class Scripted:
    """A model that gives the n-th of its answers to the n-th prompt, the last one ever after."""

    def __init__(self, answers: Iterable[NDArray[np.generic]]) -> None:
        self._answers = [np.asarray(answer, np.float32) for answer in answers]
        self.prompts: list[Prompt] = []

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        self.prompts.append(prompt)
        return self._answers[min(len(self.prompts), len(self._answers)) - 1]


class Computed:
    """A model that is a function of the prompt."""

    def __init__(self, answer: Callable[[Prompt], NDArray[np.generic]]) -> None:
        self._answer = answer

    def predict(
        self, image: NDArray[np.uint8], prompt: Prompt, *, image_key: Hashable = None
    ) -> NDArray[np.float32]:
        return np.asarray(self._answer(prompt), np.float32)
