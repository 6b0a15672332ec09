"""Which worker answers a call, which calls wait, and which are refused.

A call goes to a free worker that answered about the same image before: it has the image in its
cache and answers several times sooner. An image that no free worker knows goes to the one that
was idle for longest, so that images spread over the workers.

A call that brings its image waits for no certain worker while another is free. One that only names
the image would be refused by all others, and its client would have to send megabytes: it waits a
while for the worker that knows the image.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from iog.api.headers import IMAGE
from iog.serving.runtime import Answer, Call, refusal
from iog.serving.worker import Worker

__all__ = ["KNOWN_WAIT", "WORKER_WAIT", "Pool", "image_mark", "named_image"]

WORKER_WAIT: Final = 10.0
"""Seconds a call waits for a worker, like ``workerAvailabilityTimeoutMilliseconds``."""
KNOWN_WAIT: Final = 2.0
"""Seconds of these for which a call that names its image waits for a worker that knows it."""
# Calls that may wait for each worker. One more would most likely wait in vain, so it is refused
# at once: an annotator still remembers what the click was about.
_QUEUE_PER_WORKER: Final = 16
# Marks that are remembered of each worker; an image may have two, of its text and of its digest.
_REMEMBERED: Final = 128
_FIELD: Final = b'"image"'
_NAME: Final = b'"image_sha256"'
_DIGEST: Final = re.compile(rb'\s*:\s*"([0-9a-f]{64})"')
_PATH: Final = re.compile(r"/images/([0-9a-f]{64})")
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 64

_BUSY = refusal(503, "busy", "Other requests are being answered.", hint="Send it again.")
_LOADING = refusal(503, "loading", "The model is still being loaded.", hint="Send it again.")


class _StartFailed(Exception):
    """A worker could not start; the text is what its function has logged."""


@dataclass(eq=False)
class _Turn:
    """A call that waits.

    Attributes:
        mark: of its image.
        bound: only a worker that knows the image will do, as long as there is one.
        worker: the one it gets.
    """

    mark: Hashable
    bound: bool
    worker: asyncio.Future[Worker]


class Pool:
    """Gives each call to a worker that is free; replaces workers that died.

    Args:
        workers: started already, or by ``start``.
        wait: seconds a call waits for its turn; after that, status 503.
        known_wait: seconds of these for which it waits for the worker that knows its image.
        queue: calls that may wait at a time; one more gets status 503 at once.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        wait: float = WORKER_WAIT,
        known_wait: float = KNOWN_WAIT,
        queue: int | None = None,
    ) -> None:
        self._workers = workers
        self._wait = wait
        self._known_wait = min(known_wait, wait)
        self._queue = _QUEUE_PER_WORKER * len(workers) if queue is None else queue
        self._waiting: list[_Turn] = []
        """In the order they came."""
        self._free = [worker for worker in workers if worker.alive]
        """The one that was idle for longest comes first."""
        self._seen = {worker: deque[Hashable](maxlen=_REMEMBERED) for worker in workers}
        """Marks of the images that each worker saw last."""
        self._mending: set[asyncio.Task[None]] = set()
        self._loading = not self._free

    @property
    def alive(self) -> int:
        """Workers that can take calls."""
        return sum(worker.alive for worker in self._workers)

    @property
    def size(self) -> int:
        """Workers there are, whether they can take calls or not."""
        return len(self._workers)

    @property
    def status(self) -> str:
        """``ok``; ``loading`` until the first worker is ready; ``no worker`` if all are lost."""
        if self.alive:
            return "ok"
        return "loading" if self._loading else "no worker"

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

    async def start(self) -> str | None:
        """Start the workers; each takes calls as soon as it is ready.

        Returns:
            None once all of them are ready, else what the function of one that failed has logged.

        Raises:
            TimeoutError: the start of one takes too long; a sentence.
        """
        try:
            await asyncio.gather(*map(self._start, self._workers))
        except _StartFailed as failure:
            return str(failure)
        return None

    async def _start(self, worker: Worker) -> None:
        failure = await asyncio.wrap_future(worker.start())
        if failure is not None:
            raise _StartFailed(failure)
        self._loading = False
        self._release(worker)

    def watch(self) -> None:
        """Replace workers that die while idle from now on, in the loop that runs this."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.when_lost(partial(loop.call_soon_threadsafe, self._lost, worker))

    async def answer(self, call: Call) -> Answer:
        """The answer of the next free worker, or a refusal."""
        named = named_image(call)
        bound = named is not None and call.method != "PUT"
        mark = image_mark(call.body) if named is None and len(self._workers) > 1 else named
        worker = self._choose(mark, bound=bound)
        if worker is not None:
            self._free.remove(worker)
        elif len(self._waiting) < self._queue:
            worker = await self._turn(mark, bound=bound)
        if worker is None:
            return _LOADING if self._loading else _BUSY
        if not bound:
            self._remember(worker, mark)
        try:
            answer = await asyncio.wrap_future(worker.submit(call))
            self._learn(worker, named, answer)
            return answer
        finally:
            self._release(worker)

    def _choose(self, mark: Hashable, *, bound: bool) -> Worker | None:
        """The free worker for a call; None where it has to wait."""
        for worker in self._free:
            if mark in self._seen[worker]:
                return worker
        if bound and any(mark in seen for seen in self._seen.values()):
            return None
        return self._free[0] if self._free else None

    async def _turn(self, mark: Hashable, *, bound: bool) -> Worker | None:
        """The worker that becomes free for a call; None where that takes too long."""
        turn = _Turn(mark, bound, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        patience = self._known_wait if bound else 0.0
        try:
            if bound:
                await asyncio.wait([turn.worker], timeout=patience)
                turn.bound = False
                self._hand_out()
            await asyncio.wait([turn.worker], timeout=self._wait - patience)
        except asyncio.CancelledError:
            if turn.worker.done():
                self._release(turn.worker.result())
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
        return turn.worker.result() if turn.worker.done() else None

    def _hand_out(self) -> None:
        """Give free workers to the calls that wait for them."""
        for turn in list(self._waiting):
            worker = self._choose(turn.mark, bound=turn.bound)
            if worker is not None:
                self._waiting.remove(turn)
                self._free.remove(worker)
                turn.worker.set_result(worker)

    def _learn(self, worker: Worker, named: str | None, answer: Answer) -> None:
        """Remember by its digest the image that the answer is about, or that it is gone."""
        if answer.status == 409:
            self._forget(worker, named)
        elif len(self._workers) > 1 and (digest := answer.headers.get(IMAGE)):
            self._remember(worker, digest)

    def _remember(self, worker: Worker, mark: Hashable) -> None:
        if mark is not None:
            self._forget(worker, mark)
            self._seen[worker].append(mark)

    def _forget(self, worker: Worker, mark: Hashable) -> None:
        if mark in self._seen[worker]:
            self._seen[worker].remove(mark)

    def _put_back(self, worker: Worker) -> None:
        self._free.append(worker)
        self._hand_out()

    def _release(self, worker: Worker) -> None:
        if worker.alive:
            self._put_back(worker)
        else:
            self._begin(self._mend(worker))

    def _lost(self, worker: Worker) -> None:
        if worker in self._free:  # one that has a call is released after it
            self._free.remove(worker)
            self._begin(self._mend(worker, idle=True))

    def _begin(self, mending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(mending)
        self._mending.add(task)  # the loop itself keeps no hold of tasks
        task.add_done_callback(self._mending.discard)

    async def _mend(self, worker: Worker, *, idle: bool = False) -> None:
        self._seen[worker].clear()
        await asyncio.wrap_future(worker.restart(idle=idle))
        self._put_back(worker)


def named_image(call: Call) -> str | None:
    """The digest by which a call names its image, in the path or in the body; None without one."""
    if call.method == "PUT":
        named = _PATH.fullmatch(call.path)
        return None if named is None else named[1]
    field = call.body.find(_NAME)
    found = None if field < 0 else _DIGEST.match(call.body, field + len(_NAME))
    return None if found is None else found[1].decode("ascii")


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
