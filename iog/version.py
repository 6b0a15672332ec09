"""The version of the package, for what answers about itself and for `pyproject.toml`."""

from __future__ import annotations

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
