"""An image: its key and size at once, its pixels only where somebody needs them.

The next click on a box needs no pixels, because its crop is cached. So a click costs the same
however large the image is. An image too large for the cache is read once for each box.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
from collections.abc import Hashable
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dataloaders.geometry import Crop, Size
from iog.cache import Cache
from iog.decoding import Header, pillow_pixels, read_header, read_pixels, read_reduced
from iog.errors import NotAnImage

__all__ = ["MAX_PIXELS", "Image", "ImageLike"]

MAX_PIXELS = 178_000_000
"""Most pixels of a file, unless you say otherwise."""
_HEADER_BYTES = 1024
"""More than a header takes."""

ImageLike = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[np.uint8]
)
"""A path, the bytes of a file, a PIL image of any mode, or uint8 RGB [H, W, 3]."""


class Image:
    """One image, upright (EXIF orientation applied).

    Args:
        source: a path, the bytes of a file, a PIL image of any mode, or uint8 RGB [H, W, 3], which
            you must not change afterwards.
        key: identifies the content for the caches. Default: the digest of a file's bytes; of
            anything else a key that no other image has.
        cache: keeps headers and pixels. By default the image keeps its own, as long as it lives.
        max_pixels: most pixels (width times height) that a file may have.

    Attributes:
        key: equal for equal files.
        size: height and width.
        open_ms: milliseconds spent so far on opening and reading the file.

    Raises:
        NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        ValueError: an array is not uint8 [H, W, 3].
        TypeError: the source is none of these.
        OSError: there is no file to read at the path.
    """

    def __init__(
        self,
        source: ImageLike,
        *,
        key: Hashable = None,
        cache: Cache | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        start = time.perf_counter()
        self._cache = Cache(sys.maxsize) if cache is None else cache
        self._max_pixels = max_pixels
        self._data: bytes = b""
        self._array: NDArray[np.uint8] | None = None
        self._header: Header | None = None
        self.key: Hashable
        self.size: Size
        self.open_ms = 0.0
        path = None
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            source = path.read_bytes()
        if isinstance(source, bytearray | memoryview):
            source = bytes(source)
        if isinstance(source, bytes):
            self._data = source
            self.key = key or hashlib.sha256(source).hexdigest()
            try:
                self._header, self.size = self._cache.get_or_compute(
                    "image", self.key, self._open, nbytes=lambda _: _HEADER_BYTES
                )
            except NotAnImage as error:
                if path is None:
                    raise
                raise NotAnImage(
                    error.code, f"{path}: {error.message}", field=error.field, hint=error.hint
                ) from error
        else:
            self._array = _pixels_of(source)
            self.key = key or uuid.uuid4().hex
            self.size = self._array.shape[0], self._array.shape[1]
        self.open_ms = (time.perf_counter() - start) * 1e3

    def __repr__(self) -> str:
        """Its size and key, without the pixels."""
        return f"Image(size={self.size}, key={self.key!r})"

    def pixels(self) -> NDArray[np.uint8]:
        """The whole image, read now or from the cache.

        Returns:
            uint8 [H, W, 3], RGB, not to be written to.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        """
        pixels, _ = self._read(1)
        return pixels

    def window(self, crop: Crop) -> NDArray[np.float32]:
        """The window of a crop in the network frame.

        A file is read no larger than the crop needs it. The window depends on the crop alone and
        never on what is cached, so that the same request always gets the same mask.

        Returns:
            float32 [S, S, 3], RGB, 0..255.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
        """
        if self._array is not None:
            return crop.extract(self._array)
        pixels, block = self._read(crop.reduction)
        return crop.extract(pixels, reduced=block)

    def _open(self) -> tuple[Header, Size]:
        header = read_header(self._data, max_pixels=self._max_pixels)
        size = header.upright_hw
        if size is None:  # only the pixels tell
            self._header = header
            height, width, _ = self.pixels().shape
            size = height, width
        return header, size

    def _read(self, block: int) -> tuple[NDArray[np.uint8], int]:
        """Pixels, and the side of the blocks each stands for: ``block``, or 1 where it must be."""
        if self._array is not None:
            return self._array, 1
        start = time.perf_counter()
        if self._header is None or not self._header.reducible(block):
            block = 1
        pixels = self._cache.get_or_compute(
            "pixels", (self.key, block), partial(self._read_file, block), nbytes=_nbytes
        )
        if pixels is None:  # damaged: only reading it all repairs what can be repaired
            return self._read(1)
        self.open_ms += (time.perf_counter() - start) * 1e3
        return pixels, block

    def _read_file(self, block: int) -> NDArray[np.uint8] | None:
        if block > 1 and self._header is not None:
            pixels = read_reduced(self._data, self._header, block)
        else:
            pixels = read_pixels(self._data, max_pixels=self._max_pixels)
        if pixels is not None:
            pixels.flags.writeable = False
        return pixels


def _nbytes(pixels: NDArray[np.uint8] | None) -> int:
    return 0 if pixels is None else pixels.nbytes


def _pixels_of(source: PIL.Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    if isinstance(source, PIL.Image.Image):
        source.load()
        return pillow_pixels(source)
    if not hasattr(source, "__array__"):
        raise TypeError(
            f"The image is a {type(source).__name__}; "
            "give a path, bytes, a PIL image or uint8 RGB [H, W, 3]."
        )
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        shape = ", ".join(map(str, array.shape))
        raise ValueError(f"The image is {array.dtype} [{shape}], not uint8 RGB [H, W, 3].")
    return array
