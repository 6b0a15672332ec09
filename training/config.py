"""The settings of a training run: a frozen dataclass, a TOML file and flags say the same."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dataloaders.geometry import CropRule


class ConfigError(ValueError):
    """A setting is unknown or has the wrong type."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a run depends on, besides its data. Defaults are for ``iog-lite``."""

    architecture: str = "iog-lite"
    crop: CropRule = field(default_factory=CropRule)
    threshold: float = 0.5

    steps: int = 1500
    """Optimiser steps of the whole run; the learning rate falls to zero over them."""
    batch: int = 16
    warm_up: int = 100
    """Steps over which the learning rate rises at the start."""
    lr_backbone: float = 4e-4
    lr_decoder: float = 1.5e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 5.0
    precision: str = "fp32"
    """``fp32``, or ``bf16`` for autocast: about twice as fast on CPUs with AVX-512 BF16."""
    ema: float = 0.998
    side_weight: float = 0.3
    """Weight of each coarse prediction's loss; the fine prediction has 1."""
    small_frame: int = 192
    """Network frame of the first part of the run, where a step costs half."""
    small_share: float = 0.5
    """How much of the run uses ``small_frame``."""

    box_jitter: float = 0.03
    """Standard error of each box side, as a share of the box."""
    centre_share: float = 0.1
    """Share of samples whose click is the box centre, as when an annotator draws a box only."""
    click_share: float = 0.5
    """Share of batches that also learn from corrective clicks."""
    max_clicks: int = 3
    min_area: int = 64
    """Objects of fewer image pixels are left out."""
    turn_share: float = 0.0
    """Share of samples that are turned and scaled; the others keep their photograph's pixels."""
    turn_degrees: float = 20.0
    turn_scale_low: float = 0.7
    turn_scale_high: float = 1.3
    transplant_share: float = 0.0
    """Share of samples whose object is put before another photograph."""
    occlude_share: float = 0.0
    """Share of samples with another object pasted before or beside theirs."""
    set_weights: dict[str, float] = field(default_factory=dict)
    """How often a subset's objects are drawn, relative to 1."""

    seed: int = 1
    checkpoint_every: int = 50
    validate_every: int = 500
    workers: int = 1
    """Processes that prepare examples; 0 prepares them between the steps."""
    threads: int = 0
    """CPU threads; 0 takes what torch finds."""

    @classmethod
    def from_toml(cls, path: Path, **overrides: int | float | str | None) -> TrainingConfig:
        """Read a file whose keys are this class's fields, ``crop`` being a table.

        Raises:
            ConfigError: the file cannot be read, a key is unknown or a value unusable; the
                message names it.
        """
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None
        values.update({key: value for key, value in overrides.items() if value is not None})
        if "crop" in values:
            _check(CropRule, values["crop"], where="crop.")
            try:
                values["crop"] = CropRule(**values["crop"])
            except ValueError as error:
                raise ConfigError(f"crop: {error}") from None
        _check(cls, values, where="")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for checkpoints."""
        return asdict(self)

    def frame_at(self, step: int) -> CropRule:
        """The crop rule in force at ``step``: the small frame first, then the real one."""
        if step >= self.steps * self.small_share:
            return self.crop
        scale = self.small_frame / self.crop.frame
        return replace(
            self.crop,
            frame=self.small_frame,
            fwhm=self.crop.fwhm * scale,
            corner_offset=round(self.crop.corner_offset * scale),
        )


def _check(settings: type[Any], values: dict[str, Any], *, where: str) -> None:
    known = {f.name: f.default for f in fields(settings)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown setting {where}{name}; known: {', '.join(sorted(known))}")
        default = known[name]
        allowed = (int, float) if isinstance(default, float) else type(default)
        if default is not MISSING and (
            not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool)
        ):
            raise ConfigError(
                f"{where}{name} is {value!r}, which is not of the type of {default!r}"
            )
