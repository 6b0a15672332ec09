"""Which worker answers a call, which calls wait, and which are refused.

A call goes to a free worker that answered about the same image before: it has the image in its
cache and answers several times sooner. An image that no free worker knows goes to the one that
was idle for longest, so that images spread over the workers. No call waits for a certain worker
while another is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from iog.serving.runtime import Answer, Call, refusal
from iog.serving.worker import Worker

__all__ = ["WORKER_WAIT", "Pool", "image_mark"]

WORKER_WAIT: Final = 10.0
"""Seconds a call waits for a worker, like ``workerAvailabilityTimeoutMilliseconds``."""
# Calls that may wait for each worker. One more would most likely wait in vain, so it is refused
# at once: an annotator still remembers what the click was about.
_QUEUE_PER_WORKER: Final = 16
# Images that each worker is remembered to have seen.
_REMEMBERED: Final = 64
_FIELD: Final = b'"image"'
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 64

_BUSY = refusal(503, "busy", "Other requests are being answered.", hint="Send it again.")


class Pool:
    """Gives each call to a worker that is free; replaces workers that died.

    Args:
        workers: started already.
        wait: seconds a call waits for its turn; after that, status 503.
        queue: calls that may wait at a time; one more gets status 503 at once.
    """

    def __init__(
        self, workers: Sequence[Worker], *, wait: float = WORKER_WAIT, queue: int | None = None
    ) -> None:
        self._workers = workers
        self._wait = wait
        self._queue = _QUEUE_PER_WORKER * len(workers) if queue is None else queue
        self._waiting = 0
        self._free = list(workers)
        """The one that was idle for longest comes first."""
        self._turns = asyncio.Semaphore(len(workers))
        """As many as there are free workers."""
        self._seen = {worker: deque[int](maxlen=_REMEMBERED) for worker in workers}
        """Marks of the images that each worker saw last."""
        self._mending: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> int:
        """Workers that can take calls."""
        return sum(worker.alive for worker in self._workers)

    @property
    def restarts(self) -> int:
        """Worker processes lost so far, each of which is replaced."""
        return sum(worker.restarts for worker in self._workers)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the function said of itself; all workers run the same."""
        return self._workers[0].about

    @property
    def pids(self) -> list[int | None]:
        """The number of each worker's process, in the workers' order."""
        return [worker.pid for worker in self._workers]

    def watch(self) -> None:
        """Replace workers that die while idle from now on, in the loop that runs this."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.when_lost(partial(loop.call_soon_threadsafe, self._lost, worker))

    async def answer(self, call: Call) -> Answer:
        """The answer of the next free worker, or a refusal."""
        if self._turns.locked() and self._waiting >= self._queue:
            return _BUSY
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._turns.acquire()
        except TimeoutError:
            return _BUSY
        finally:
            self._waiting -= 1
        worker = self._take(call)
        try:
            return await asyncio.wrap_future(worker.submit(call))
        finally:
            self._release(worker)

    def _take(self, call: Call) -> Worker:
        """One of the free workers, of which there is at least one."""
        mark = image_mark(call.body) if len(self._workers) > 1 else None
        worker = next((free for free in self._free if mark in self._seen[free]), self._free[0])
        self._free.remove(worker)
        if mark is not None:
            seen = self._seen[worker]
            if mark in seen:
                seen.remove(mark)
            seen.append(mark)
        return worker

    def _put_back(self, worker: Worker) -> None:
        self._free.append(worker)
        self._turns.release()

    def _release(self, worker: Worker) -> None:
        if worker.alive:
            self._put_back(worker)
            return
        self._begin(self._mend(worker))

    def _lost(self, worker: Worker) -> None:
        if worker in self._free:  # one that has a call is released after it
            self._begin(self._mend_idle(worker))

    def _begin(self, mending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(mending)
        self._mending.add(task)  # the loop itself keeps no hold of tasks
        task.add_done_callback(self._mending.discard)

    async def _mend_idle(self, worker: Worker) -> None:
        await self._turns.acquire()  # a turn may be given to a call that has not taken its worker
        if worker.alive or worker not in self._free:  # such a call has taken this one
            self._turns.release()
            return
        self._free.remove(worker)
        await self._mend(worker, idle=True)

    async def _mend(self, worker: Worker, *, idle: bool = False) -> None:
        await asyncio.wrap_future(worker.restart(idle=idle))
        self._seen[worker].clear()
        self._put_back(worker)


def image_mark(body: bytes) -> int | None:
    """A number that requests with the same image share; None where no image is found.

    The body is not parsed for it. The number comes from the length of the image's text and from
    samples all over it: cameras begin their files alike, and to hash the whole of a large text
    would hold up other requests. A wrong guess costs time and nothing else.
    """
    field = body.find(_FIELD)
    start = body.find(b'"', field + len(_FIELD)) + 1
    end = body.find(b'"', start)
    if field < 0 or not 0 < start < end:
        return None
    step = max(1, (end - start) // _SAMPLES)
    samples = (body[at : min(at + _SAMPLE_BYTES, end)] for at in range(start, end, step))
    return hash((end - start, *samples))
