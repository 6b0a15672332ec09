"""Compare the pinned requirements with the published advisories, for `make check`.

Exit status 1 when an advisory is about one of them. Where no advisories can be reached, a line that
begins with SKIPPED says so, and the exit status is 0.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

FILES = ("requirements.txt", "requirements-dev.txt")
SERVICE = ("pypi.org", 443)


def audit(folder: Path) -> int:
    """Run pip-audit on the pinned files of a folder; the exit status.

    Nothing is installed or resolved: every version is pinned already.
    """
    try:
        socket.create_connection(SERVICE, timeout=5).close()
    except OSError as error:
        return skipped(f"cannot reach {SERVICE[0]} ({error})")
    options = ["--disable-pip", "--no-deps", "--timeout", "10", "--format", "json"]
    files = [word for name in FILES for word in ("-r", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *options, *files],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return verdict(done.stdout)


def skipped(reason: str) -> int:
    """Say that nothing was compared, and why; the exit status."""
    print(
        f"SKIPPED: audit of the pinned packages: {reason}. Nothing was compared.", file=sys.stderr
    )
    return 0


def verdict(report: str) -> int:
    """Say what pip-audit's JSON report means; the exit status."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return skipped(f"{SERVICE[0]} does not answer as an advisory service")
    known = [package for package in packages if "vulns" in package]
    if not known:
        return skipped(f"cannot reach advisories; the index behind {SERVICE[0]} has none")
    concerned = [package for package in known if package["vulns"]]
    for package in concerned:
        names = ", ".join(advisory["id"] for advisory in package["vulns"])
        print(f"{package['name']} {package['version']}: {names}")
    print(
        f"Audit: {len(known)} of {len(packages)} packages known, {len(concerned)} with advisories."
    )
    return 1 if concerned else 0


if __name__ == "__main__":
    sys.exit(audit(Path(__file__).parents[1]))
