"""Engines: one interface to run a network, whatever runs it.

An engine takes and returns NumPy arrays in the network frame. It encodes a crop once and decodes
it for every set of clicks; a network without a click branch does all its work while encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from networks.backbones import Features
from networks.blocks import resize
from networks.mainnetwork import MainNetwork
from networks.refinementnetwork import RefinementNetwork

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


TorchCrop = Features | torch.Tensor
"""Features to decode, or the logits of a network without a click branch."""


class TorchEngine:
    """The reference engine: eager torch, channels last, on CPU or CUDA.

    Args:
        network: in eval mode, on ``device``.
        device: where inputs go.
        precision: ``fp32``, or ``bf16`` for autocast.
    """

    name = "torch"

    def __init__(self, network: nn.Module, *, device: str = "cpu", precision: str = "fp32") -> None:
        # The parameters stay as they are: converting them would copy them out of the mapped file
        # that several workers share, and a channels-last input alone selects the fast kernels.
        self._network = network
        self._device = torch.device(device)
        self._autocast = precision == "bf16"

    @property
    def refines(self) -> bool:
        """True for the networks with a click branch."""
        return isinstance(self._network, RefinementNetwork)

    def encode(self, x: NDArray[np.float32]) -> TorchCrop:
        """Encode float32 [5, S, S]: the backbone's features, or the finished logits."""
        with self._context():
            if isinstance(self._network, RefinementNetwork):
                return self._network.encode(self._tensor(x))
            assert isinstance(self._network, MainNetwork)
            return self._network.forward_fine(self._tensor(x))

    def decode(self, encoded: TorchCrop, clicks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability float32 [S, S]; see ``Engine``."""
        with self._context():
            if isinstance(encoded, Features):
                assert isinstance(self._network, RefinementNetwork)
                logits = self._network.decode_fine(encoded, self._tensor(clicks))
            else:
                logits = encoded
            probability = torch.sigmoid(
                resize(logits.float(), (clicks.shape[-2], clicks.shape[-1]))
            )
        array: NDArray[np.float32] = probability[0, 0].cpu().numpy()
        return array

    def nbytes(self, encoded: TorchCrop) -> int:
        """Memory that an encoded crop takes."""
        return sum(t.nbytes for t in (encoded if isinstance(encoded, Features) else (encoded,)))

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(array))[None].to(self._device)
        return batch.contiguous(memory_format=torch.channels_last)

    @contextmanager
    def _context(self) -> Iterator[None]:
        """Inference mode, with bf16 autocast when asked for."""
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast),
        ):
            yield
