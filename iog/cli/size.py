"""`iog size`: how many replicas a number of annotators needs, by a closed queueing model.

An annotator sends a request, waits for its answer, thinks, and sends the next one. So there are
never more requests under way than annotators. A replica with its annotators is the finite-source
queue M/M/c//N, the machine-repair model (Kleinrock, Queueing Systems I, section 3.8): times of
thinking and answering are exponential, and the queue is served in order. A load balancer gives
requests to replicas in turn and so spreads the annotators evenly over them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from iog.errors import SettingsError
from iog.tables import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MOST_BUSY", "Forecast", "Load", "forecast", "replicas_for", "size"]

MOST_BUSY = 0.6
"""Share of time. Up to here the load test measures what the model forecasts. Beyond it answers take
longer than forecast, because server and clients need the processor too."""


def size(
    annotators: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100_000, help="At work at the same time; again for more rows."),
    ] = None,
    think: Annotated[
        float, typer.Option(min=0, help="Seconds from an answer to the next click, on average.")
    ] = 5.0,
    first: Annotated[
        float, typer.Option(min=0.0001, help="Seconds of a first click, as `iog bench` measures.")
    ] = 0.05,
    later: Annotated[
        float, typer.Option(min=0.0001, help="Seconds of a further click on the same object.")
    ] = 0.02,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks on an object, on average.")] = 3,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers of a replica, a core or more each.")
    ] = 1,
    within: Annotated[
        float, typer.Option(min=0.001, help="Seconds in which 95 % of the answers shall come.")
    ] = 1.0,
) -> None:
    """Forecast replicas, load and waiting times for 10, 100 and 1,000 annotators.

    The times of a click are those of iog-lite on one core of a server; measure yours.
    """
    rows = []
    for people in annotators or [10, 100, 1000]:
        load = Load(people, think, first, later, clicks=clicks, workers=workers)
        try:
            found = replicas_for(load, within=within)
        except ValueError as error:
            raise SettingsError(f"No number of replicas will do: {error}.") from error
        rows.append(
            (
                f"{people:,}",
                f"{found.replicas:,}",
                f"{found.busy:.0%}",
                f"{found.mean:.2f} s",
                f"{found.p95:.2f} s",
                f"{found.throughput:.1f}",
            )
        )
    head = ("annotators", "replicas", "busy", "mean", "95 % within", "requests/s")
    Table("", head, tuple(rows)).show()


@dataclass(frozen=True)
class Load:
    """What annotators ask, and what one request costs.

    Attributes:
        annotators: people at work at the same time.
        think: mean seconds from an answer to the same annotator's next request.
        first: seconds that a free worker takes if it has not seen the object before.
        later: seconds that it takes if it has, because its crop is cached.
        clicks: mean number of requests for an object.
        workers: requests that a replica answers at a time, each with the cores it needs.
    """

    annotators: int
    think: float
    first: float
    later: float
    clicks: int = 3
    workers: int = 1

    def misses(self, replicas: int) -> float:
        """Share of requests that reach a worker which has not seen the object, 0 to 1.

        Every worker has its own cache, and a request goes to any worker.
        """
        missed = 1 - 1 / (replicas * self.workers)
        return sum(missed**click for click in range(self.clicks)) / self.clicks

    def service(self, replicas: int) -> float:
        """Mean seconds that a free worker takes for a request."""
        return self.later + (self.first - self.later) * self.misses(replicas)


@dataclass(frozen=True)
class Forecast:
    """What the model expects.

    Attributes:
        replicas: the number it is about.
        busy: share of time that a worker is busy, 0 to 1.
        mean: mean seconds from a request to its answer.
        p95: seconds within which 95 % of the requests are answered.
        throughput: requests per second of all replicas together.
    """

    replicas: int
    busy: float
    mean: float
    p95: float
    throughput: float


def forecast(load: Load, replicas: int) -> Forecast:
    """What to expect of a number of replicas.

    If the annotators cannot be spread evenly, times are those of the fullest replica.

    Raises:
        ValueError: a number is not positive.
    """
    import numpy as np

    if min(load.annotators, load.workers, load.clicks, replicas) < 1:
        raise ValueError("annotators, workers, clicks and replicas have to be at least 1")
    if not 0 < load.later <= load.first or load.think < 0:
        raise ValueError("think is at least 0, later above it, and first no less than later")
    service = load.service(replicas)
    share = -(-load.annotators // replicas)
    states = _states(share, load, service)
    working = np.minimum(np.arange(share + 1), load.workers)
    rate = float(states @ working) / service
    mean = share / rate - load.think
    # An arriving request sees the queue as it is without it (arrival theorem, closed networks).
    seen = _states(share - 1, load, service)
    slow = load.first if load.misses(replicas) > 0.05 else load.later
    return Forecast(
        replicas=replicas,
        busy=min(1.0, rate * service / load.workers),
        mean=mean,
        p95=slow + _waiting(seen, load.workers, service, 0.95),
        throughput=load.annotators / (load.think + mean),
    )


def replicas_for(load: Load, *, within: float) -> Forecast:
    """The fewest replicas that answer 95 % of the requests in time and are not too busy.

    They are busier than `MOST_BUSY` only if each annotator has one of their own.

    Args:
        load: what annotators ask.
        within: seconds that an answer may take.

    Raises:
        ValueError: a single request takes longer than that, however many replicas there are.
    """
    if within < load.first:
        raise ValueError(
            f"an answer takes {load.first:g} s when nobody waits; {within:g} s cannot be met"
        )

    def enough(replicas: int) -> bool:
        found = forecast(load, replicas)
        return found.p95 <= within and found.busy <= MOST_BUSY

    low, high = 1, 1
    while not enough(high) and high < load.annotators:
        low, high = high + 1, min(2 * high, load.annotators)
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return forecast(load, high)


def _states(annotators: int, load: Load, service: float) -> NDArray[np.float64]:
    """Probability of 0, 1, ... requests at one replica, float64 [annotators + 1]."""
    import numpy as np

    n = np.arange(1, annotators + 1)
    # Those who may still ask, against the workers that answer.
    rates = (annotators - n + 1) * service / max(load.think, 1e-9)
    logs = np.concatenate([[0.0], np.cumsum(np.log(rates / np.minimum(n, load.workers)))])
    weights = np.asarray(np.exp(logs - logs.max()), np.float64)  # relative, or it would overflow
    return np.asarray(weights / weights.sum(), np.float64)


def _waiting(seen: NDArray[np.float64], workers: int, service: float, share: float) -> float:
    """Seconds within which ``share`` of the requests get a worker.

    A request that finds k requests waiting is served after k + 1 answers. At the rate of all
    workers the number of answers in t seconds is Poisson distributed, so the wait is over with the
    probability P(Poisson(t / step) > k), where ``step`` is the mean time between two answers.
    """
    import numpy as np

    at_once = float(seen[:workers].sum())
    if at_once >= share:
        return 0.0
    queued = seen[workers:]
    answers = np.arange(len(queued))
    factorials = np.concatenate([[0.0], np.cumsum(np.log(answers[1:]))])  # their logarithms

    def in_time(steps: float) -> float:
        at_most = np.cumsum(np.exp(answers * math.log(steps) - steps - factorials))
        return at_once + float(queued @ (1 - at_most))

    step = service / workers
    low, high = 0.0, step * (len(seen) + 10 * math.sqrt(len(seen)))
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if in_time(middle / step) >= share else (middle, high)
    return high
