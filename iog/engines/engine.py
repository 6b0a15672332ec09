"""Engines: one interface to run a network, whatever runs it.

An engine takes and returns NumPy arrays in the network frame. It encodes a crop once and decodes
it for every set of clicks; a network without a click branch does all its work while encoding.
``iog.engines.choosing`` picks one.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoded", "Engine"]

Encoded = TypeVar("Encoded")
"""What an engine keeps of an encoded crop; nobody else looks inside."""


class Engine(Protocol[Encoded]):
    """Runs one network."""

    @property
    def refines(self) -> bool:
        """Whether corrective clicks go to ``decode``; otherwise they belong into ``encode``."""

    def encode(self, x: NDArray[np.float32]) -> Encoded:
        """Encode float32 [5, S, S] (R, G, B, inside map, outside map, 0..255)."""

    def decode(self, encoded: Encoded, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S], 0..1, for clicks float32 [2, S, S], 0..255."""

    def nbytes(self, encoded: Encoded) -> int:
        """Memory that an encoded crop takes."""
