"""What the local host counts, in Prometheus' words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    Summary,
    generate_latest,
)
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_INFO = ("model", "engine", "precision", "device", "version")


class Metrics:
    """The figures of one host, in a registry of their own.

    Args:
        about: what the function says of itself; its model, engine, precision, device and version
            become the labels of ``iog_info``.
        pids: the numbers of the workers' processes as of now.
    """

    def __init__(
        self,
        about: Mapping[str, object],
        pids: Callable[[], Sequence[int | None]] = tuple,
    ) -> None:
        own = self._registry = CollectorRegistry()
        ProcessCollector(registry=own)
        own.register(_WorkerProcesses(pids))
        self._info = Info("iog", "What answers the requests.", registry=own)
        self.tell(about)
        gauge, counter = partial(Gauge, registry=own), partial(Counter, registry=own)
        self.in_flight = gauge("iog_requests_in_flight", "Requests being received or answered.")
        self.workers = gauge("iog_workers", "Worker processes that can take a request.")
        self.restarts = gauge("iog_worker_restarts", "Worker processes replaced so far.")
        self._requests = counter("iog_requests", "Requests answered, by status.", ["status"])
        told = "Seconds from a request's first byte to its answer."
        self._seconds = Histogram("iog_request_seconds", told, buckets=_SECONDS, registry=own)
        told = "Seconds spent in a stage."
        self._stages = Summary("iog_stage_seconds", told, ["stage"], registry=own)
        self._hits = counter("iog_cache_hits", "Lookups that found something.", ["cache"])
        self._misses = counter("iog_cache_misses", "Lookups that found nothing.", ["cache"])

    def tell(self, about: Mapping[str, object]) -> None:
        """Say anew what the function says of itself: it is known only once the model is loaded."""
        self._info.info({name: str(about.get(name, "")) for name in _INFO})

    def observe(self, *, status: int, seconds: float, report: Mapping[str, object]) -> None:
        """Count one answered request.

        Args:
            status: the answer's HTTP status.
            seconds: how long it took.
            report: the handler's report; ``<stage>_ms``, ``<cache>_cache_hits`` and
                ``<cache>_cache_misses`` of it are counted.
        """
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)
        for key, value in report.items():
            if not isinstance(value, int | float):
                continue
            if key.endswith("_ms"):
                self._stages.labels(key.removesuffix("_ms")).observe(value / 1000)
            elif key.endswith("_cache_hits"):
                self._hits.labels(key.removesuffix("_cache_hits")).inc(value)
            elif key.endswith("_cache_misses"):
                self._misses.labels(key.removesuffix("_cache_misses")).inc(value)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _WorkerProcesses(Collector):
    """Memory, processor time and open files of each worker, where the system has ``/proc``."""

    def __init__(self, pids: Callable[[], Sequence[int | None]]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        """The host's own process metrics as ``iog_worker_...``, labelled with the worker."""
        families: dict[str, Metric] = {}
        for number, pid in enumerate(self._pids()):
            if pid is None:
                continue
            for found in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                name = _of_worker(found.name)
                family = families.setdefault(name, Metric(name, found.documentation, found.type))
                for sample in found.samples:
                    labels = {"worker": str(number)}
                    family.add_sample(_of_worker(sample.name), labels, sample.value)
        return families.values()


def _of_worker(name: str) -> str:
    return name.replace("process_", "iog_worker_", 1)
