"""A request's image: its size at once, its pixels only where somebody needs them.

The next click on a box needs none: its crop is cached. So a click costs the same however large the
image is, and an image that is too large for the cache costs its decoding once for each box.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Crop, SizeHW
from iog.cache import ByteCache, Shelf
from iog.decoding import Header, decode, decode_reduced, read_header

__all__ = ["Photo", "Photos", "Pixels"]

_ENTRY_BYTES = 1024
"""More than a header takes."""


class Photos:
    """Opens images, and keeps what is known of them.

    Args:
        cache: keeps headers (shelf ``image``) and pixels (shelf ``pixels``).
        max_pixels: most pixels an image may have.
    """

    def __init__(self, cache: ByteCache, *, max_pixels: int) -> None:
        self._headers: Shelf[tuple[Header, SizeHW]] = cache.shelf("image")
        self.pixels: Shelf[NDArray[np.uint8]] = cache.shelf("pixels")
        self.max_pixels = max_pixels

    def open(self, data: bytes, key: str) -> Photo:
        """The image in a file; pixels are decoded only where no header tells their size.

        Args:
            data: the file's bytes.
            key: identifies them.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.decode``.
        """
        start = time.perf_counter()
        known = self._headers.get(key)
        if known is not None:
            return Photo(self, data, key, *known)
        header = read_header(data, max_pixels=self.max_pixels)
        size = header.upright_hw
        photo = Photo(self, data, key, header, size or (0, 0))
        if size is None:
            photo.size = photo.pixels().shape[:2]
        self._headers.put(key, (header, photo.size), _ENTRY_BYTES)
        photo.decode_ms = (time.perf_counter() - start) * 1e3
        return photo


@dataclass
class Photo:
    """One image; made by `Photos.open`."""

    photos: Photos
    data: bytes
    key: str
    header: Header
    size: SizeHW
    """Height and width, upright."""
    decode_ms: float = field(default=0.0, kw_only=True)
    """Milliseconds spent so far on reading the file."""

    def pixels(self) -> NDArray[np.uint8]:
        """The whole image, decoded or from the cache.

        Returns:
            uint8 [H, W, 3], RGB, upright, not to be written to.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.decode``.
        """
        pixels, _ = self._decoded(1)
        return pixels

    def window(self, crop: Crop) -> NDArray[np.float32]:
        """The window of a crop in the network frame, float32 [S, S, 3], 0..255.

        The file is decoded no larger than the crop needs it. What comes out depends on the crop
        alone and never on what is cached, so that a request's mask is always the same.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.decode``.
        """
        pixels, reduced = self._decoded(crop.reduction)
        return crop.extract(pixels, reduced=reduced)

    def _decoded(self, block: int) -> tuple[NDArray[np.uint8], int]:
        """Pixels, and the side of the blocks each stands for: ``block``, or 1 where it must be."""
        start = time.perf_counter()
        if not self.header.reducible(block):
            block = 1
        shelf = self.photos.pixels
        pixels = shelf.get((self.key, block))
        if pixels is None:
            if block > 1:
                pixels = decode_reduced(self.data, self.header, block)
                if pixels is None:  # damaged: only the whole decoding repairs what it can
                    return self._decoded(1)
            else:
                pixels = decode(self.data, max_pixels=self.photos.max_pixels)
            pixels.flags.writeable = False
            shelf.put((self.key, block), pixels, pixels.nbytes)
        self.decode_ms += (time.perf_counter() - start) * 1e3
        return pixels, block


@dataclass(frozen=True)
class Pixels:
    """An image that comes as pixels, uint8 [H, W, 3], RGB.

    What is computed of it is cached if it has a key, which no other image may have.
    """

    array: NDArray[np.uint8]
    key: str | None = None
    decode_ms: float = 0.0

    @property
    def size(self) -> SizeHW:
        """Height and width."""
        return self.array.shape[0], self.array.shape[1]

    def window(self, crop: Crop) -> NDArray[np.float32]:
        """The window of a crop in the network frame, float32 [S, S, 3], 0..255."""
        return crop.extract(self.array)
