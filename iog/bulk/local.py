"""Worker processes on this machine.

Each has an image in work and one that waits. None outlives the process that started it, however
that ends. Workers are started afresh and never forked (docs/adr/0009).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Final

from iog.bulk.records import DEADLY, BoxedImage, ImageOutcome, Outcome
from iog.bulk.task import MaskTask
from iog.errors import SettingsError

__all__ = ["LocalMapper"]

_SPAWN: Final = multiprocessing.get_context("spawn")
# One in work and one that waits, so that no worker waits for the journal.
_AHEAD: Final = 2


class LocalMapper:
    """A ``Mapper`` of worker processes.

    A worker that dies (killed by the system when memory runs out, or by a defect of a library) is
    replaced. Its image is tried once more; if that ends its worker too, the image fails.

    Args:
        task: what each worker does; its ``threads`` are those of one worker.
        workers: processes, 1 or more.
    """

    def __init__(self, task: MaskTask, workers: int) -> None:
        self._task = task
        self._most = workers
        self._workers: list[_Worker] = []
        self._suspects: set[int] = set()
        """Numbers of images that a worker died of."""

    def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
        """See ``Mapper.map``.

        Raises:
            SettingsError, WeightsError, ValueError: the model cannot be loaded; see ``iog.load``.
        """
        again: deque[BoxedImage] = deque()
        image = next(images, None)
        while True:
            # Alone, so that it is known which image a worker dies of.
            while again and (idle := next((w for w in self._workers if not w.images), None)):
                idle.give(again.popleft())
            while image is not None and not again and (worker := self._with_room()):
                worker.give(image)
                image = next(images, None)
            busy = {worker.pipe: worker for worker in self._workers if worker.images}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    outcome = worker.take()
                except (EOFError, OSError):
                    outcome = self._lost(worker, again)
                if outcome is not None:
                    yield outcome

    def _with_room(self) -> _Worker | None:
        """The worker with the fewest images, if it can take one more; a new one if none is idle."""
        least = min(self._workers, key=lambda each: len(each.images), default=None)
        if (least is None or least.images) and len(self._workers) < self._most:
            least = _Worker(self._task)
            self._workers.append(least)
        return least if least is not None and len(least.images) < _AHEAD else None

    def _lost(self, worker: _Worker, again: deque[BoxedImage]) -> ImageOutcome | None:
        """Replace a worker that died; its images are tried again, but not a second time."""
        if not worker.ready:
            raise SettingsError(
                "A worker died while it loaded the model. Is the machine short of memory? Give "
                "fewer --workers."
            )
        first, *rest = worker.images
        worker.restart()
        again.extend(rest)
        if first.number in self._suspects:
            return ImageOutcome.failed(first, DEADLY)
        self._suspects.add(first.number)
        again.append(first)
        return None

    def close(self) -> None:
        """End the workers; once more does nothing."""
        for worker in self._workers:
            worker.end()
        self._workers = []


class _Worker:
    """One process, and the images that it has."""

    def __init__(self, task: MaskTask) -> None:
        self._task = task
        self.images: deque[BoxedImage] = deque()
        self._start()

    def _start(self) -> None:
        self.ready = False
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, self._task), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe breaks when the process ends

    def give(self, image: BoxedImage) -> None:
        self.images.append(image)
        with contextlib.suppress(OSError):  # it has died, which taking its answer tells
            self.pipe.send(image)

    def take(self) -> ImageOutcome | None:
        """The next answer; None if it only tells that the model is loaded.

        Raises:
            EOFError, OSError: the process has died.
        """
        told: Exception | tuple[tuple[int, Outcome], ...] | None = self.pipe.recv()
        if isinstance(told, Exception):
            raise told
        if told is None:
            self.ready = True
            return None
        return ImageOutcome(self.images.popleft(), told)

    def restart(self) -> None:
        self.end()
        self.images.clear()
        self._start()

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, task: MaskTask) -> None:
    """The whole life of a worker."""
    # A terminal signals the whole group: the host decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    images: queue.SimpleQueue[BoxedImage] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, images), name="reader", daemon=True).start()
    try:
        task.load()
    except Exception as error:
        pipe.send(error)
        return
    pipe.send(None)
    while True:
        pipe.send(task.outcome(images.get()).outcomes)


def _read(pipe: Connection, images: queue.SimpleQueue[BoxedImage]) -> None:
    """Take whatever comes, so that the host never waits for a worker that waits for the host.

    The pipe breaks when the host closes it or is no more: then this process ends at once, whatever
    it is doing.
    """
    try:
        while True:
            images.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(1)
