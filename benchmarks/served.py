"""An `iog serve` to send requests to, and the memory of all its processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.roundrobin import Address

__all__ = ["Memory", "Served"]

_ROOT = Path(__file__).parent.parent
Memory = dict[str, float | None]


class Served:
    """A running `iog serve` on a free port of this machine, until `close`.

    Args:
        workers: how many.
        environment: its settings.

    Raises:
        RuntimeError: it did not start.
    """

    def __init__(self, *, workers: int, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "iog", "serve", "--port", "0", "--workers", str(workers)],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            self.close()
            raise RuntimeError("A server did not start; try `iog serve`.")
        self.address: Address = found[1], int(found[2])

    def memory(self) -> Memory:
        """Mebibytes of the host and the processes it started, together.

        ``rss_mb`` counts what they share for each of them, ``pss_mb`` once; both are None where
        the system does not tell.
        """
        parents = _parents()
        if not parents:
            return {"rss_mb": None, "pss_mb": None}
        family = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        totals = {"Rss": 0.0, "Pss": 0.0}
        for pid in family:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, size = line.partition(":")
                if name in totals:
                    totals[name] += int(size.split()[0]) / 1024
        return {"rss_mb": round(totals["Rss"], 1), "pss_mb": round(totals["Pss"], 1)}

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()


def _parents() -> dict[int, int]:
    """Each process's parent; nothing where there is no /proc."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before the last bracket may hold anything.
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    return found
