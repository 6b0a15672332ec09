"""OpenVINO without its telemetry, and one core of it. Import OpenVINO from here alone.

    from iog.engines.openvino_library import CORE, openvino

Alone, `import openvino` looks up Google Analytics, starts a thread and writes `~/intel` wherever
the package openvino-telemetry is installed, and pip installs the two together.
"""

from __future__ import annotations

import sys
from typing import Final

# None makes Python refuse the import, and OpenVINO then takes the stub that it has for that case.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["CORE", "openvino"]

CORE: Final = openvino.Core()
"""The only core of the process, which lives as long as that.

Each core gives its thread another stack for signals, and frees it with itself. Of two cores that go
in the order they came in, the second puts the freed stack of the first back in place, and the next
signal that Python handles (Ctrl-C, a worker of a data loader that ends) is a segmentation fault.
"""
