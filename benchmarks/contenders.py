"""From names on the command line to what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.process import Contender
from benchmarks.weights import random_checkpoint
from iog.settings import Settings

__all__ = ["RANDOM", "contenders_of"]

RANDOM = "random weights"


def contenders_of(
    model: str,
    *,
    engines: Sequence[str],
    precisions: Sequence[str],
    settings: Settings,
    folder: Path,
) -> Iterator[Contender]:
    """One contender for each engine and precision.

    A model of the table whose weights are not here is measured with random ones of the same size,
    for they take the same time; its note says so.

    Args:
        model: a name or path of weights.
        engines: values of ``IOG_ENGINE``.
        precisions: values of ``IOG_PRECISION``.
        settings: where weights are looked for.
        folder: for files that are made.

    Raises:
        WeightsError: there is no such model.
    """
    from iog.models.spec import REGISTRY, locate, resolve

    name, weights, note = model, model, ""
    if model in REGISTRY and locate(model, weights_dir=settings.weights_dir) is None:
        path = folder / f"{model}-random.pt"
        random_checkpoint(REGISTRY[model].architecture, path)
        weights, note = str(path), RANDOM
    else:
        spec = resolve(model, weights_dir=settings.weights_dir)
        name, weights = spec.name, model if model in REGISTRY else str(spec.path)
    for engine in engines:
        for precision in precisions:
            environment = {
                "IOG_MODEL": weights,
                "IOG_WEIGHTS_SHA256": "",
                "IOG_ENGINE": engine,
                "IOG_PRECISION": precision,
            }
            yield Contender(name, engine, precision, environment=environment, note=note)
