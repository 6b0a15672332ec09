"""OpenVINO without its telemetry. Import OpenVINO from here, and nowhere else.

    from networks.openvinolibrary import openvino

Alone, `import openvino` looks up Google Analytics, starts a thread and writes `~/intel` wherever
the package openvino-telemetry is installed, and pip installs the two together.
"""

from __future__ import annotations

import sys

# None makes Python refuse the import, and OpenVINO then takes the stub that it has for that case.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
