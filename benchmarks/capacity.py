"""How many replicas a number of annotators needs: a closed queueing model.

An annotator sends a request, waits for its answer, thinks, and sends the next one, so there are
never more requests under way than annotators. A replica with its annotators is the classical
finite-source queue (M/M/c//N, or machine-repair model; Kleinrock, Queueing Systems I, section 3.8):
thinking and answering take exponential times, the queue is served in order. A load balancer that
gives requests to replicas in turn spreads the annotators evenly over them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

__all__ = ["MOST_BUSY", "Forecast", "Load", "forecast", "replicas_for"]

MOST_BUSY = 0.6
"""Up to here the load test finds what the model forecasts; beyond, answers take longer than it
says, because the server, the proxy and the clients need the processor too."""


@dataclass(frozen=True)
class Load:
    """What annotators ask, and what one request costs.

    Attributes:
        annotators: people at work at the same time.
        think: mean seconds from an answer to the same annotator's next request.
        first: seconds a free worker takes where it has not seen the object before.
        later: seconds it takes where it has, its crop being cached.
        clicks: mean number of requests for an object.
        workers: requests a replica answers at a time, each with the cores it needs.
    """

    annotators: int
    think: float
    first: float
    later: float
    clicks: int = 3
    workers: int = 1

    def misses(self, replicas: int) -> float:
        """Share of requests that reach a worker which has not seen the object, 0 to 1.

        Every worker has its own cache, and each request goes to any of them.
        """
        missed = 1 - 1 / (replicas * self.workers)
        return sum(missed**click for click in range(self.clicks)) / self.clicks

    def service(self, replicas: int) -> float:
        """Mean seconds a free worker takes for a request."""
        return self.later + (self.first - self.later) * self.misses(replicas)


@dataclass(frozen=True)
class Forecast:
    """What the model expects.

    Attributes:
        replicas: the number it is about.
        busy: share of time a worker is busy, 0 to 1.
        mean: mean seconds from a request to its answer.
        p95: seconds within which 95 % of the requests are answered.
        throughput: requests per second, of all replicas together.
    """

    replicas: int
    busy: float
    mean: float
    p95: float
    throughput: float


def forecast(load: Load, replicas: int) -> Forecast:
    """What to expect of a number of replicas.

    Where the annotators cannot be spread evenly, times are those of the fullest replica.

    Raises:
        ValueError: a number is not positive.
    """
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
    # Who arrives sees the queue as it is without them (the arrival theorem for closed networks).
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

    Busier than `MOST_BUSY` they are only if each annotator has one to themselves.

    Args:
        load: what annotators ask.
        within: seconds an answer may take.

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
    n = np.arange(1, annotators + 1)
    # So many who may ask, against so many workers at work.
    rates = (annotators - n + 1) * service / max(load.think, 1e-9)
    logs = np.concatenate([[0.0], np.cumsum(np.log(rates / np.minimum(n, load.workers)))])
    weights = np.asarray(np.exp(logs - logs.max()), np.float64)  # or large numbers would overflow
    return np.asarray(weights / weights.sum(), np.float64)


def _waiting(seen: NDArray[np.float64], workers: int, service: float, share: float) -> float:
    """Seconds within which ``share`` of the requests get a worker.

    A request waits until one more answer than there are requests before it is done, at the rate
    of all workers: a sum of exponential times.
    """
    at_once = float(seen[:workers].sum())
    if at_once >= share:
        return 0.0
    queued = seen[workers:]
    before = np.arange(1, len(queued) + 1)
    step = service / workers
    low, high = 0.0, step * (len(seen) + 10 * math.sqrt(len(seen)))
    while high - low > 1e-4:
        middle = (low + high) / 2
        in_time = at_once + float(queued @ gammainc(before, middle / step))
        low, high = (low, middle) if in_time >= share else (middle, high)
    return high
