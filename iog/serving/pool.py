"""Who answers next: free workers, those who wait for one, and those who are sent away.

A call goes to a free worker that saw its image before, for that one has it in its cache. An image
that no free worker saw goes to the one that was idle for longest, so that images spread over the
workers. Nobody waits for a certain worker while another is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from iog.serving.affinity import Known, image_mark
from iog.serving.runtime import Call, Reply, refusal
from iog.serving.worker import Worker

__all__ = ["QUEUE_PER_WORKER", "WORKER_WAIT", "Pool"]

WORKER_WAIT: Final = 10.0
"""Seconds a call waits for a worker, like ``workerAvailabilityTimeoutMilliseconds``."""
QUEUE_PER_WORKER: Final = 16
"""Calls that may wait for each worker. One more would most likely wait in vain: it is refused at
once, while whoever sent it still remembers what it was about."""

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
        self._queue = QUEUE_PER_WORKER * len(workers) if queue is None else queue
        self._waiting = 0
        self._free = list(workers)
        """The one that was idle for longest comes first."""
        self._turns = asyncio.Semaphore(len(workers))
        """As many as there are free workers."""
        self._known = {worker: Known() for worker in workers}
        self._mending: set[asyncio.Task[None]] = set()
        self.restarts = 0
        """Workers replaced so far."""

    @property
    def alive(self) -> int:
        """Workers that can take calls."""
        return sum(worker.alive for worker in self._workers)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the function said of itself; all workers run the same."""
        return self._workers[0].about

    @property
    def pids(self) -> list[int | None]:
        """The number of each worker's process, in the workers' order."""
        return [worker.pid for worker in self._workers]

    async def answer(self, call: Call) -> Reply:
        """The reply of the next free worker, or a refusal."""
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
        worker = next((free for free in self._free if mark in self._known[free]), self._free[0])
        self._free.remove(worker)
        self._known[worker].add(mark)
        return worker

    def _put_back(self, worker: Worker) -> None:
        self._free.append(worker)
        self._turns.release()

    def _release(self, worker: Worker) -> None:
        if worker.alive:
            self._put_back(worker)
            return
        self.restarts += 1
        task = asyncio.create_task(self._mend(worker))
        self._mending.add(task)  # the loop itself keeps no hold of tasks
        task.add_done_callback(self._mending.discard)

    async def _mend(self, worker: Worker) -> None:
        await asyncio.wrap_future(worker.restart())
        self._known[worker].clear()
        self._put_back(worker)
