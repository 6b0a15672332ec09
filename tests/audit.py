"""Compare the pinned requirements with the published advisories, for `make check`.

Exit status 1 when an advisory is about one of them; 0, with a line that says so, when the service
cannot be reached or knows none of them.
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
        print(f"Audit skipped: {SERVICE[0]} cannot be reached ({error}).")
        return 0
    options = ["--disable-pip", "--no-deps", "--timeout", "10", "--format", "json"]
    files = [word for name in FILES for word in ("-r", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *options, *files],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return verdict(done.stdout)


def verdict(report: str) -> int:
    """Say what pip-audit's JSON report means; the exit status."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        print(f"Audit skipped: {SERVICE[0]} does not answer as an advisory service.")
        return 0
    known = [package for package in packages if "vulns" in package]
    if not known:
        print(f"Audit skipped: the index behind {SERVICE[0]} knows no advisories.")
        return 0
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
