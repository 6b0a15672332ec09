"""Training samples: objects cropped, prompted and augmented, numbered so that a run can resume."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data

from dataloaders.annotator import inside_point
from dataloaders.augmentation import copy_paste, jitter_box, occlude, photometric, random_affine
from dataloaders.damage import damaged
from dataloaders.geometry import Box, Crop, CropRule
from dataloaders.guidance import guidance_maps, most_interior_point
from dataloaders.samples import Dataset, Sample
from iog.errors import DatasetError, SettingsError
from iog.training.config import TrainingConfig

MAX_DRAWS = 1000
"""Objects to try before it is clear that a data set has none to train on."""


class Example(NamedTuple):
    """One training example in the network frame."""

    x: Tensor  # float32 [5, S, S]: R, G, B, inside map, outside map, 0..255
    label: Tensor  # float32 [1, S, S], 0 or 1
    valid: Tensor  # float32 [1, S, S], 0 where the truth is void
    previous: Tensor  # float32 [1, S, S], 0..255: a mask to correct, zeros for none


class TrainingSamples(data.Dataset[Example]):
    """An endless list: example ``n`` depends on the settings and ``n`` alone.

    So the run's order of examples is fixed by its seed, and resuming after step k simply goes on
    at example ``k * batch``, whatever the number of loading processes.
    """

    def __init__(self, objects: Dataset, config: TrainingConfig) -> None:
        self._objects = objects
        self._config = config
        self._orders: dict[int, NDArray[np.int64]] = {}
        weights = np.array(
            [config.set_weights.get(objects.subset(i), 1.0) for i in range(len(objects))]
        )
        if not weights.any():
            raise SettingsError("set_weights leave no object to train on")
        self._cumulative = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return self._config.steps * self._config.batch * self._config.accumulate

    def __getitem__(self, number: int) -> Example:
        rng = np.random.default_rng((self._config.seed, number))
        rule = self._config.frame_at(number // (self._config.batch * self._config.accumulate))
        sample = self._draw(rng) if self._config.set_weights else self._in_turn(number)
        for _ in range(MAX_DRAWS):
            if sample.mask.sum() >= self._config.min_area:
                sample = self._composite(sample, rng)
                example = make_example(sample, rule, self._config, rng)
                if example is not None:
                    return example
            sample = self._draw(rng)
        raise DatasetError(
            f"None of {MAX_DRAWS} objects can be trained on: they have fewer than min_area = "
            f"{self._config.min_area} pixels, or vanish at {rule.input_size} pixels"
        )

    def _in_turn(self, number: int) -> Sample:
        """Every object once in each pass over the data, each pass in an order of its own."""
        passes, place = divmod(number, len(self._objects))
        if passes not in self._orders:
            rng = np.random.default_rng((self._config.seed, len(self._objects), passes))
            self._orders = {passes: rng.permutation(len(self._objects))}
        return self._objects[int(self._orders[passes][place])]

    def _draw(self, rng: np.random.Generator) -> Sample:
        index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return self._objects[min(index, len(self._objects) - 1)]

    def _composite(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Move the object to another photograph, turn it, hide a part of it; each now and then."""
        config = self._config
        if rng.random() < config.copy_paste_prob:
            sample = copy_paste(sample, self._draw(rng).image, rng)
        elif rng.random() < config.affine_prob:
            scale = (config.turn_scale_low, config.turn_scale_high)
            sample = random_affine(sample, rng, degrees=config.turn_degrees, scale=scale)
        if rng.random() < config.occlude_prob:
            sample = occlude(sample, self._draw(rng), rng)
        return sample


def make_example(
    sample: Sample, rule: CropRule, config: TrainingConfig, rng: np.random.Generator
) -> Example | None:
    """Crop, prompt and augment one object; ``None`` when it vanishes at network size."""
    foreign = None
    if config.foreign_prob and rng.random() < config.foreign_prob:
        foreign = damaged(sample.mask, rng)
    box = sample.tight_box() if foreign is None else _box_to_correct(foreign, sample)
    crop = Crop.around(jitter_box(box, rng, fraction=config.box_jitter), rule)
    inside = crop.extract(np.ones(sample.mask.shape, np.uint8))  # what lies outside stays zero
    photo = crop.extract(sample.image)
    if config.photometric:
        photo = photometric(photo, rng) * inside[..., None]
    label = crop.extract(sample.mask.astype(np.uint8)) > 0.5
    void = crop.extract(sample.void.astype(np.uint8)) > 0.5
    corners = crop.outside_points()
    if foreign is None:
        previous = np.zeros(label.shape, np.float32)
        click = _first_click(label, config, rng)
    else:
        previous = crop.extract(foreign.astype(np.uint8)) * np.float32(255.0)
        click = most_interior_point(previous > 127.5)
    if click is None or not label.any():
        return None
    maps = guidance_maps([click], corners, input_size=rule.input_size, fwhm=rule.fwhm)
    x = np.concatenate([photo.transpose(2, 0, 1), maps])
    if rng.random() < 0.5:
        x, label, void = x[:, :, ::-1], label[:, ::-1], void[:, ::-1]
        previous = previous[:, ::-1]
    return Example(
        torch.from_numpy(np.ascontiguousarray(x)),
        torch.from_numpy(label[None].astype(np.float32)),
        torch.from_numpy((~void)[None].astype(np.float32)),
        torch.from_numpy(np.ascontiguousarray(previous[None], np.float32)),
    )


def _box_to_correct(foreign: NDArray[np.bool_], sample: Sample) -> Box:
    """The box of a mask to correct, and of the click on the object that would correct it."""
    x1, y1, x2, y2 = replace(sample, mask=foreign).tight_box()
    worst = most_interior_point((foreign != sample.mask) & ~sample.void)
    if worst is None or not sample.mask[worst[1], worst[0]]:
        return x1, y1, x2, y2
    x, y = worst
    return min(x1, x), min(y1, y), max(x2, x + 1.0), max(y2, y + 1.0)


def _first_click(
    label: NDArray[np.bool_], config: TrainingConfig, rng: np.random.Generator
) -> tuple[int, int] | None:
    if not label.any():
        return None
    draw = rng.random()
    if draw < config.centre_prob:
        rows, columns = np.nonzero(label)
        return int(columns.min() + columns.max()) // 2, int(rows.min() + rows.max()) // 2
    if draw < config.centre_prob + config.interior_prob:
        return most_interior_point(label)
    return inside_point(label, rng)
