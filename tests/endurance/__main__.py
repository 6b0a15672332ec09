"""The long form of every test of endurance, and its figures in `docs/endurance.md`.

`python -m tests.endurance [GROUP ...]` runs all groups, or those that are named; figures of the
others stay as they were measured, each with its own date and commit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from iog.settings import available_cores
from tests.endurance.report import write

ROOT = Path(__file__).parents[2]
GROUPS = ("fuzz", "bombs", "soak", "concurrency", "starts", "faults", "fetching", "security")
FIGURES = ROOT / "runs" / "endurance"


def main(names: list[str]) -> int:
    """Run the groups and write the table; the exit status of the worst."""
    unknown = set(names) - set(GROUPS)
    if unknown:
        sys.exit(f"There is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}.")
    worst = 0
    for group in names or GROUPS:
        worst = max(worst, run(group))
    write(ROOT / "docs" / "endurance.md", FIGURES, GROUPS)
    return worst


def run(group: str) -> int:
    """One group in its long form; its figures replace the ones of the run before."""
    folder = FIGURES / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.jsonl").unlink(missing_ok=True)
    environment = {**os.environ, "IOG_ENDURANCE": "full", "IOG_ENDURANCE_FIGURES": str(folder)}
    start, load = time.monotonic(), os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"tests/endurance/test_{group}.py", "-q", "--no-cov"],
        cwd=ROOT,
        env=environment,
    )
    (folder / "about.json").write_text(
        json.dumps(
            about(load) | {"passed": not done.returncode, "s": round(time.monotonic() - start)}
        )
    )
    return done.returncode


def about(load: float) -> dict[str, Any]:
    """Where and on what the figures were measured."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "cores": available_cores(),
        "processor": _processor(),
        "load": round(load, 1),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
