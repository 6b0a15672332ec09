"""The same `MaskTask` in actors of Ray: on this machine, or on a cluster."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from iog.bulk.records import DEADLY, BoxedImage, Failure, ImageOutcome, MaskRow, Outcome
from iog.bulk.task import MaskTask
from iog.errors import SettingsError

__all__ = ["RayMapper"]

# Of one data set of Ray. Its actors load the model anew for the next one, which takes them less
# than a hundredth of the time that so many images take.
_IMAGES_PER_ACTOR: Final = 1024
_MOST_IMAGES: Final = 65_536
# What an actor gets at once: little enough that all end together, enough that Ray's part is small.
_MOST_IMAGES_PER_BLOCK: Final = 8
_BLOCKS_PER_ACTOR: Final = 8
# After an actor died, its block is tried once more.
_RETRIES: Final = 1
_MISSING: Final = (
    "Ray is missing: install it with `make ray`, or with `pip install --no-deps -r "
    "requirements-ray.txt`."
)


class RayMapper:
    """A ``Mapper`` of Ray Data's actors.

    Ray starts them, moves images to whoever is free, holds back when results pile up, replaces
    actors and nodes that are lost, and says how far it is. An image that ends its actor twice, and
    once more on its own, fails.

    Args:
        task: what each actor does; its ``threads`` are the CPUs that an actor takes.
        threads: the same number, for Ray.
        actors: how many; ``None`` for as many as the CPUs allow.
        address: of a cluster, or ``auto`` for the one that this runs in; ``None`` starts Ray here,
            and ends it in ``close``.
        gpus: of each actor; a half lets two actors share one.

    Raises:
        SettingsError: Ray is missing, or there is no cluster at the address.
    """

    def __init__(
        self,
        task: MaskTask,
        *,
        threads: int = 1,
        actors: int | None = None,
        address: str | None = None,
        gpus: float = 0,
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Else Ray says what a later version of it will do with CUDA_VISIBLE_DEVICES.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray.data
        except ImportError as error:
            raise SettingsError(_MISSING) from error
        here: dict[str, Any] = {"include_dashboard": False}
        if actors:
            # Not the cores that there are: Ray would wait for ever for those that it lacks.
            here["num_cpus"] = actors * threads
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(
                address=address or "local",
                logging_level="ERROR",
                log_to_driver=False,
                **({} if address else here),
            )
        except Exception as error:  # Ray raises its own base class for some
            where = f"cannot be reached at {address}" if address else "cannot start here"
            raise SettingsError(f"Ray {where}: {_last_line(error)}") from error
        for number, handler in before.items():
            # Ray's own handlers end the process before the journal is closed.
            signal.signal(number, handler)
        self._ray: Any = ray
        self._task = task
        self._threads = threads
        self._gpus = gpus
        self.actors = actors or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)

    def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
        """See ``Mapper.map``.

        Raises:
            SettingsError: the actors cannot load the model.
        """
        most = min(_IMAGES_PER_ACTOR * self.actors, _MOST_IMAGES)
        while part := list(islice(images, most)):
            blocks = max(-(-len(part) // _MOST_IMAGES_PER_BLOCK), self.actors * _BLOCKS_PER_ACTOR)
            lost = yield from self._mapped(part, blocks)
            # Each alone, so that it is known which image an actor dies of.
            lost = yield from self._mapped(lost, len(lost))
            for image in lost:
                yield ImageOutcome.failed(image, DEADLY)

    def _mapped(
        self, images: list[BoxedImage], blocks: int
    ) -> Generator[ImageOutcome, None, list[BoxedImage]]:
        """Map images that fit into memory; returns those that were lost with their actors."""
        if not images:
            return []
        data = self._ray.data
        context = data.DataContext.get_current()
        context.max_errored_blocks = -1
        context.actor_init_retry_on_errors = False
        context.max_consecutive_actor_init_deaths = 0
        waiting = {image.number: image for image in images}
        rows = data.from_items(
            [_as_row(image) for image in images], override_num_blocks=min(blocks, len(images))
        )
        with warnings.catch_warnings():
            # Ray has no other way yet to say how often it tries again; without, it never stops.
            warnings.filterwarnings("ignore", ".*ray_remote_args_fn.*")
            found = rows.map_batches(
                _Actor,
                fn_constructor_args=(self._task,),
                batch_size=None,
                compute=data.ActorPoolStrategy(size=min(self.actors, len(images))),
                num_cpus=self._threads,
                num_gpus=self._gpus or None,
                ray_remote_args_fn=_remote_arguments,
            )
        try:
            for table in found.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for row in table.to_pylist():
                    image = waiting.pop(row["number"])
                    numbers = [each.number for each in image.objects]
                    outcomes = [_outcome_of(mask) for mask in row["masks"]]
                    yield ImageOutcome(image, tuple(zip(numbers, outcomes, strict=True)))
        except self._ray.exceptions.RayError as error:
            raise SettingsError(f"Ray's actors cannot start: {_last_line(error)}") from error
        return list(waiting.values())

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        self._ray.shutdown()


class _Actor:
    """What Ray makes in each actor: the task with its model loaded."""

    def __init__(self, task: MaskTask) -> None:
        task.load()
        self._task = task

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        return self._task(batch)


def _remote_arguments() -> dict[str, int]:
    return {"max_restarts": -1, "max_task_retries": _RETRIES}


def _as_row(image: BoxedImage) -> dict[str, Any]:
    """An image as columns of ``MaskTask``."""
    return {
        "number": image.number,
        "image": image.image,
        "boxes": [[float(number) for number in each.box] for each in image.objects],
        "points": [[[float(n) for n in click] for click in each.points] for each in image.objects],
        "size": list(image.size or ()),
    }


def _outcome_of(mask: Mapping[str, Any]) -> Outcome:
    """The outcome that a value of the column ``masks`` tells."""
    if mask.get("error") is not None:
        return Failure(mask["error"])
    height, width = mask["size"]
    x0, y0, x1, y1 = mask["bbox"]
    return MaskRow((height, width), mask["counts"], (x0, y0, x1, y1), mask["area"], mask["score"])


def _last_line(error: Exception) -> str:
    """The sentence of the error that a traceback of Ray ends with."""
    return str(error.__cause__ or error).strip().splitlines()[-1]
