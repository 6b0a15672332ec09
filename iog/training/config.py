"""The settings of a training run: a frozen dataclass, a TOML file and flags say the same."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from dataloaders.geometry import CropRule, crop_fields
from iog.errors import SettingsError

CONFIGS = Path(__file__).parent / "configs"
"""The recipes that come with the project."""
CHOICES = {
    "optimiser": ("adamw", "sgd"),
    "schedule": ("cosine", "constant"),
    "precision": ("fp32", "bf16", "fp16"),
    "loss": ("focal_iou", "summed_bce"),
}
OLD_NAMES = {
    "turn_share": "affine_prob",
    "transplant_share": "copy_paste_prob",
    "occlude_share": "occlude_prob",
    "click_share": "click_prob",
    "centre_share": "centre_prob",
    "interior_share": "interior_prob",
    "small_share": "small_fraction",
}
"""Settings as recipes and runs from before call them."""

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


@dataclass(frozen=True)
class Upstream:
    """Slips of the official training code, each off unless a run is to repeat them."""

    coarse3_twice: bool = False
    """Refinement: the finest side prediction counts twice."""
    transposed_polarity: bool = False
    """Refinement: a click's polarity is looked up with row and column exchanged."""
    unpadded_distance: bool = False
    """Refinement: the crop's edge does not count as the error's border."""
    click_at_origin: bool = False
    """Refinement: a perfect mask gets a click at its first pixel, instead of none."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a run depends on, besides its data."""

    architecture: str = "iog-lite"
    """A network's name; empty takes network, crop rule and threshold of the initial weights."""
    crop: CropRule = field(default_factory=CropRule)
    threshold: float = 0.5

    steps: int = 1500
    """Optimiser steps of the whole run; the learning rate falls to zero over them."""
    epochs: float = 0.0
    """If above 0, the number of passes over the data, in place of ``steps``."""
    batch: int = 16
    """Examples that go through the network at once, on all processes together."""
    depthwise_every: int = 1
    """Every how many steps EfficientNet's depthwise kernels learn, too. On a CPU their gradients
    take a quarter of a step, for 4 % of the parameters."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one step."""
    optimiser: str = "adamw"
    momentum: float = 0.9
    """Of ``sgd``."""
    schedule: str = "cosine"
    warm_up: int = 100
    """Steps over which the learning rate rises at the start."""
    lr_backbone: float = 4e-4
    """For what ImageNet has taught."""
    lr_decoder: float = 1.5e-3
    """For everything else."""
    fresh_stem: bool = True
    """The backbone's first convolution counts as the rest: it has yet to learn the guidance."""
    weight_decay: float = 1e-4
    decay_norms: bool = False
    """Weight decay for BatchNorm and biases too."""
    gradient_clip: float = 5.0
    """Largest norm of all gradients together; 0 for any."""
    freeze_norms: bool = False
    """BatchNorm keeps the statistics it has: for small data sets, and batches of 1."""
    precision: str = "fp32"
    """``bf16`` and ``fp16`` (CUDA only) for autocast; bf16 about doubles the speed of CPUs with
    AVX-512 BF16."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is saved; 0 for none."""

    loss: str = "focal_iou"
    """``focal_iou``, or ``summed_bce`` as the published weights were trained with."""
    side_weight: float = 0.3
    """Weight of each coarse prediction's loss; the fine prediction has 1."""
    upstream: Upstream = field(default_factory=Upstream)
    small_frame: int = 192
    """Network frame of the first part of the run, where a step costs half."""
    small_fraction: float = 0.5
    """Fraction of the run that uses ``small_frame``."""

    box_jitter: float = 0.03
    """Standard error of each box side, as a fraction of the box."""
    centre_prob: float = 0.1
    """Chance that a sample's click is the box centre, as when an annotator draws a box only."""
    interior_prob: float = 0.4
    """Chance that it is the object's most interior pixel; the others click well inside."""
    click_prob: float = 0.5
    """Chance that a batch, or with ``iog-lite`` a sample, also learns from corrective clicks."""
    max_clicks: int = 3
    foreign_prob: float = 0.0
    """Chance that a sample starts from a damaged mask and its box, as with ``mask_input``. For
    networks that read the mask to correct."""
    min_area: int = 64
    """Objects of fewer image pixels are left out."""
    photometric: bool = True
    """Change brightness, colours, sharpness and noise."""
    affine_prob: float = 0.0
    """Chance that a sample is turned and scaled; the others keep their photograph's pixels."""
    turn_degrees: float = 20.0
    turn_scale_low: float = 0.7
    turn_scale_high: float = 1.3
    copy_paste_prob: float = 0.0
    """Chance that a sample's object is pasted onto another photograph."""
    occlude_prob: float = 0.0
    """Chance that another object is pasted before a sample's object or beside it."""
    set_weights: dict[str, float] = field(default_factory=dict)
    """How often a subset's objects are drawn, relative to 1. Without any, every object comes once
    in each pass over the data."""
    hold_out: float = 0.0
    """Fraction of the photographs kept for validation, where the data has no split of its own."""

    seed: int = 1
    checkpoint_every: int = 50
    validate_every: int = 500
    """Steps between validations; 0 validates at the end only."""
    validate_objects: int = 0
    """Objects to validate on, spread over the data; 0 takes all."""
    workers: int = 1
    """Processes that prepare examples; 0 prepares them between the steps."""
    threads: int = 0
    """CPU threads; 0 takes what torch finds."""

    def __post_init__(self) -> None:
        """Refuse what no run can use.

        Raises:
            SettingsError: names the setting.
        """
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(
                    f"{name} is {getattr(self, name)!r}; it must be one of: {', '.join(allowed)}"
                )
        counts = ("batch", "accumulate", "depthwise_every", "checkpoint_every", "max_clicks")
        least = dict.fromkeys(counts, 1)
        for f in fields(self):
            value, low = getattr(self, f.name), least.get(f.name, 0)
            part = f.name.endswith(("_prob", "_fraction")) or f.name in ("ema", "hold_out")
            high = 1 if part else math.inf
            if isinstance(value, int | float) and not low <= value <= high:
                limits = f"{low} to {high}" if high == 1 else f"{low} or above"
                raise SettingsError(f"{f.name} is {value}; it must be {limits}")
        if not 0 < self.threshold < 1:
            raise SettingsError(f"threshold is {self.threshold}; it must be above 0 and below 1")

    @classmethod
    def from_toml(cls, path: Path, **overrides: object) -> TrainingConfig:
        """Read a file whose keys are this class's fields, ``crop`` and ``upstream`` being tables.

        Args:
            path: the file, or the name of one in ``CONFIGS``.
            overrides: take the place of what the file says, ``None`` leaves it; tables are merged.

        Raises:
            SettingsError: the file cannot be read, a key is unknown or a value unusable; the
                message names it.
        """
        named = CONFIGS / f"{path}.toml"
        path = named if path.suffix != ".toml" and named.is_file() else path
        try:
            values = present_names(tomllib.loads(path.read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise SettingsError(
                f"{path} cannot be read: {reason}; give a file, or one of: {known}"
            ) from None
        for key, value in present_names(overrides).items():
            if isinstance(value, Mapping) and isinstance(values.get(key), dict):
                values[key] = {**values[key], **value}
            elif value is not None:
                values[key] = value
        for name, table in (("crop", CropRule), ("upstream", Upstream)):
            if name in values:
                _check(table, values[name], where=f"{name}.")
                try:
                    values[name] = table(**values[name])
                except ValueError as error:
                    raise SettingsError(f"{name}: {error}") from None
        _check(cls, values, where="")
        return cls(**values)

    def for_data(self, objects: int) -> TrainingConfig:
        """These settings with the number of steps that ``epochs`` means for so many objects."""
        if not self.epochs:
            return self
        steps = math.ceil(self.epochs * objects / (self.batch * self.accumulate))
        return replace(self, steps=steps, epochs=0.0)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for checkpoints."""
        return asdict(self)

    def frame_at(self, step: int) -> CropRule:
        """The crop rule in force at ``step``: the small frame first, then the real one."""
        if step >= self.steps * self.small_fraction:
            return self.crop
        scale = self.small_frame / self.crop.input_size
        return replace(
            self.crop,
            input_size=self.small_frame,
            fwhm=self.crop.fwhm * scale,
            corner_offset=round(self.crop.corner_offset * scale),
        )


def present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they lie in a recipe, flags or a checkpoint, under their present names."""
    found = {OLD_NAMES.get(name, name): value for name, value in values.items()}
    if isinstance(found.get("crop"), dict):
        found["crop"] = crop_fields(found["crop"])
    return found


def _check(settings: type[Any], values: object, *, where: str) -> None:
    if not isinstance(values, dict):
        raise SettingsError(f"{where.rstrip('.')} is {values!r}, which is no table")
    known = {f.name: f.default for f in fields(settings)}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"unknown setting {where}{name}; known: {', '.join(sorted(known))}")
        if name == "set_weights" and not (
            isinstance(value, dict) and all(type(v) in (int, float) for v in value.values())
        ):
            raise SettingsError(f"{name} is {value!r}; it must be a table of numbers")
        default = known[name]
        if default is MISSING or is_dataclass(value):
            continue
        allowed = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool):
            raise SettingsError(f"{where}{name} is {value!r}; it must be {_WORDS[type(default)]}")
