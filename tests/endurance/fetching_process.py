"""`iog weights fetch` of a small model, in a process that a test can kill or starve.

`python -m tests.endurance.fetching_process FOLDER ADDRESS [BYTES]`: BYTES is the most that a file
may have, as on a disk that is full.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import iog.models.checkpoint
import iog.models.fetching
import iog.models.spec
from iog.errors import WeightsError
from iog.models.spec import REGISTRY


def main(folder: str, address: str, most: str = "") -> None:
    """Fetch; one sentence on standard error and exit status 1 where that fails."""
    spec = replace(REGISTRY["iog-lite"], name="small", source=address, filename="SMALL.pth")
    spec = replace(spec, size=None, sha256=None, sha256_confirmed=False)
    registry = MappingProxyType({spec.name: spec})
    for module in (iog.models.checkpoint, iog.models.spec):
        setattr(module, "REGISTRY", registry)  # noqa: B010 - final for everybody else
    setattr(iog.models.spec, "BUNDLED_DIR", Path(folder) / "nothing")  # noqa: B010
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    try:
        path = iog.models.fetching.fetch("small", weights_dir=Path(folder), source=address)
        print(path, flush=True)
    except WeightsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
