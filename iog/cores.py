"""How many CPU cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores by affinity and by the container's CPU quota, at least 1.

    Torch counts the host's cores even where a container is limited to a few, and then runs slower
    than with the right number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    return max(1, min(cores or 1, quota if quota is not None else cores or 1))


def _quota(cgroup: Path) -> int | None:
    """Whole cores of the CPU quota, version 2 or 1 of the interface; ``None`` without a quota."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        share = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no quota
        return None
    return max(1, int(share)) if share > 0 else None
