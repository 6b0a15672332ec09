"""The same `MaskTask` in actors of Ray: on this machine, or on a cluster."""

from __future__ import annotations

import os
import signal
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final
from uuid import uuid4

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
# Actors in a row that die while they load the model, after others have loaded it.
_MOST_LOST_LOADS: Final = 3
_MISSING: Final = (
    "Ray is missing: install it with `make ray`, or with `pip install --no-deps -r "
    "requirements-ray.txt`."
)


class RayMapper:
    """A ``Mapper`` of Ray Data's actors.

    Ray starts them, moves images to whoever is free, holds back when results pile up, replaces
    actors and nodes that are lost, and says how far it is. What is lost with an actor is done again
    in actors that have one image at a time. An image that ends such an actor, and once more while
    nothing else is under way, fails. The others get their masks.

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
            # One at a time in the end: where memory runs out, Ray may end another actor than the
            # one that takes too much.
            for actors in (self.actors, 1):
                lost = yield from self._alone(lost, actors)
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
        names: list[str] = []

        def remote_arguments() -> dict[str, Any]:
            """Those of one more actor."""
            names.append(f"iog-{uuid4()}")
            return {"name": names[-1], "max_restarts": -1, "max_task_retries": _RETRIES}

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
                ray_remote_args_fn=remote_arguments,
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
            raise _cannot_start(error) from error
        if waiting:
            # Ray Data leaves that to Python, but the errors of lost blocks refer to its actors, and
            # whoever keeps an error keeps them and their CPUs: the next ones would wait for ever.
            for name in names:
                with suppress(ValueError):  # it has ended
                    self._ray.kill(self._ray.get_actor(name))
        return list(waiting.values())

    def _alone(
        self, images: list[BoxedImage], actors: int
    ) -> Generator[ImageOutcome, None, list[BoxedImage]]:
        """Map each image in an actor that has no other one; returns those that ended theirs.

        Not with Ray Data: it queues images at an actor, and those behind a deadly one are lost
        together with it, as often as it is tried.
        """
        lost: list[BoxedImage] = []
        waiting = deque(images)
        lost_loads = 0
        calls: dict[Any, tuple[Any, BoxedImage | None]] = {}
        for _ in range(min(actors, len(images))):
            self._start(calls)
        # Not until all calls are back: an actor for which there is no room never answers.
        while waiting or any(image is not None for _, image in calls.values()):
            (call,), _ = self._ray.wait(list(calls), num_returns=1)
            actor, image = calls.pop(call)
            try:
                outcomes = self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                if image is not None:
                    lost.append(image)
                else:
                    lost_loads += 1
                    if lost_loads == _MOST_LOST_LOADS:
                        raise _cannot_start(error) from error
                self._ray.kill(actor)  # it may be out of reach, and alive
                if waiting:
                    self._start(calls)
                continue
            if waiting:
                following = waiting.popleft()
                calls[actor.outcomes.remote(following)] = actor, following
            else:
                self._ray.kill(actor)
            if image is None:
                lost_loads = 0
            else:
                yield ImageOutcome(image, outcomes)
        for actor, _ in calls.values():
            self._ray.kill(actor)
        return lost

    def _start(self, calls: dict[Any, tuple[Any, BoxedImage | None]]) -> None:
        """Start an actor that Ray neither restarts nor asks again; its first call waits for it."""
        actor = (
            self._ray.remote(_Actor)
            .options(
                num_cpus=self._threads,
                num_gpus=self._gpus or None,
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(self._task)
        )
        calls[actor.ready.remote()] = actor, None

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

    def ready(self) -> None:
        """Answers once the model is loaded."""

    def outcomes(self, image: BoxedImage) -> tuple[tuple[int, Outcome], ...]:
        return self._task.outcome(image).outcomes


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


def _cannot_start(error: Exception) -> SettingsError:
    return SettingsError(f"Ray's actors cannot start: {_last_line(error)}")


def _last_line(error: Exception) -> str:
    """The sentence of the error that a traceback of Ray ends with."""
    return str(error.__cause__ or error).strip().splitlines()[-1]
