"""A stand-in for Ray: its data sets lose all blocks, so that what is done after that can be seen.

The actors work in this process, when they are waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iog.bulk.records import BoxedImage
from tests.bulk.toy import first_time


class FakeError(Exception):
    """In the place of ``ray.exceptions.RayError``."""


class FakeRay:
    """What ``RayMapper`` uses of the package ``ray``.

    An image called ``die`` ends its actor, ``die-once`` only the first time; see ``ToyTask``.

    Attributes:
        data_sets: images of each data set of Ray.
        lost_loads: of the actors, counted from 0 as they start, those that end while they load.
        room: actors that there is room for; those after them never start.
        started: actors so far.
        killed: those that were ended by their handle.
        asked: numbers of images, as actors were asked for them.
        beside: of each of these, how many others were under way.
    """

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=FakeError)
        self.data = SimpleNamespace(
            DataContext=SimpleNamespace(get_current=SimpleNamespace),
            ActorPoolStrategy=SimpleNamespace,
            from_items=self._from_items,
        )
        self.data_sets: list[int] = []
        self.lost_loads: set[int] = set()
        self.room = 100
        self.started = 0
        self.killed: set[int] = set()
        self.asked: list[int] = []
        self.beside: list[int] = []
        self.under_way = 0

    def init(self, **options: object) -> None:
        """Nothing needs to start."""

    def _from_items(self, rows: Sequence[object], *, override_num_blocks: int) -> _LostData:
        self.data_sets.append(len(rows))
        return _LostData()

    def remote(self, kind: Callable[..., Any]) -> SimpleNamespace:
        def start(*arguments: object) -> _Actor:
            self.started += 1
            return _Actor(self, self.started - 1, lambda: kind(*arguments))

        def options(**given: object) -> SimpleNamespace:
            # Else Ray itself tries again, and what ends an actor is not known.
            assert (given["max_restarts"], given["max_task_retries"]) == (0, 0)
            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def wait(self, calls: Sequence[_Call], *, num_returns: int) -> tuple[list[_Call], list[_Call]]:
        """The oldest call that can have an answer."""
        assert num_returns == 1
        call = next(each for each in calls if each.actor.number < self.room)
        return [call], [each for each in calls if each is not call]

    def kill(self, actor: _Actor) -> None:
        self.killed.add(actor.number)

    def get(self, call: _Call) -> object:
        return call.actor.answer(call)


class _LostData:
    """A data set of which no block comes back."""

    def map_batches(self, kind: object, **options: object) -> _LostData:
        return self

    def iter_batches(self, **options: object) -> tuple[()]:
        return ()


class _Actor:
    """A handle of an actor, and the actor."""

    def __init__(self, ray: FakeRay, number: int, make: Callable[[], Any]) -> None:
        self.number = number
        self._ray = ray
        self._make = make
        self._made: Any = None
        self._call: _Call | None = None
        self.ready = SimpleNamespace(remote=lambda: self._called(None))
        self.outcomes = SimpleNamespace(remote=self._called)

    def _called(self, image: BoxedImage | None) -> _Call:
        assert self._call is None, "it has a call already"
        assert (image is None) == (self._made is None), "it is asked for an image once it is ready"
        self._call = _Call(self, image)
        if image is not None:
            self._ray.asked.append(image.number)
            self._ray.beside.append(self._ray.under_way)
            self._ray.under_way += 1
        return self._call

    def answer(self, call: _Call) -> object:
        assert call is self._call
        self._call = None
        image = call.image
        if image is None:
            if self.number in self._ray.lost_loads:
                raise FakeError("It died.")
            self._made = self._make()
            return self._made.ready()
        self._ray.under_way -= 1
        name = image.name
        if name == "die" or (name == "die-once" and first_time(Path(str(image.image)))):
            raise FakeError("It died.")
        return self._made.outcomes(image)


class _Call:
    """A reference to what will be the answer."""

    def __init__(self, actor: _Actor, image: BoxedImage | None) -> None:
        self.actor = actor
        self.image = image
