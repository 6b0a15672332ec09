"""Image files of every format and mode to RGB pixels.

Pillow reads the header: size, mode, orientation. OpenCV then reads the pixels of the files that it
reads faster and bit for bit alike; Pillow reads all others.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from iog.errors import NotAnImage, RequestError, TooManyPixels
from iog.truncation import ends_in_nothing, fraction_present

__all__ = [
    "FORMATS",
    "MAX_SIDE",
    "Header",
    "pillow_pixels",
    "read_header",
    "read_pixels",
    "read_reduced",
]

# Formats with a signature that is hard to meet by chance. Pillow knows more, among them some that
# take any bytes for an image (TGA) or start other programs (EPS).
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM", "AVIF")

# Longest side of an image, as in JPEG and GIF. The work on a request is bounded by the number of
# pixels and a square window around the box: a line of 20,000,000 x 1 pixels passes for a small
# image, and its window takes gigabytes.
MAX_SIDE = 65_535

_HINT = (
    "Send the whole file of a JPEG, PNG, TIFF, BMP, WEBP, GIF, JPEG 2000, PPM or AVIF image, "
    "base64-encoded."
)
# Modes of one channel with more than 8 bits, or floats; `convert("RGB")` would clip them to white.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# Where a PNG can keep its orientation. Pillow reads all pixels before it tells, so we look first.
_PNG_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

# OpenCV's flags for a reduced size, less the bit that asks for blue, green, red.
_REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}

# Images are stretched in blocks of whole rows of about this many pixels: the intermediate 64-bit
# floats of one block stay in the processor's cache.
_BLOCK_PIXELS = 1 << 16
# A range of integers up to this long is stretched by a table.
_TABLE_LENGTH = 1 << 16

# Two of Pillow's switches are module globals; whoever sets them must be alone.
_PILLOW_SWITCHES = threading.Lock()


@dataclass(frozen=True)
class Header:
    """What the header says, and so which library reads the pixels.

    Attributes:
        reader: `opencv`, `opencv-deep` (several channels of 16 bits) or `pillow`.
        size_hw: height and width of the pixels as the library returns them.
        orientation: EXIF orientation, 1..8, still to be applied to them.
        jpeg: whether OpenCV can read it at a half, a quarter or an eighth of its size.
    """

    reader: Literal["opencv", "opencv-deep", "pillow"]
    size_hw: tuple[int, int]
    orientation: int
    jpeg: bool = False

    @property
    def upright_hw(self) -> tuple[int, int] | None:
        """Height and width of the upright image; None where only its pixels tell."""
        if self.reader == "pillow":
            return None
        height, width = self.size_hw
        return (width, height) if self.orientation >= 5 else (height, width)

    def reducible(self, block: int) -> bool:
        """Whether the image can be read with ``block`` by ``block`` pixels in one.

        Blocks count from the stored picture's first corner. Where the orientation moves that
        corner, the image must be of whole blocks.
        """
        whole = not any(side % block for side in self.size_hw)
        return self.jpeg and block in _REDUCED and (whole or self.orientation == 1)


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """Read the header of an image file; arguments and errors as of `read_pixels`."""
    with _refusals(data, max_pixels=max_pixels):
        return _read_header(data, max_pixels=max_pixels)


def read_reduced(data: bytes, header: Header, block: int) -> NDArray[np.uint8] | None:
    """Read a JPEG file with ``block`` by ``block`` pixels in one, from its discrete cosines.

    That takes less time and memory than reading it all. The pixels are the blocks' means but for
    rounding.

    Args:
        data: the bytes of the file.
        header: what `read_header` says of them.
        block: 2, 4 or 8.

    Returns:
        uint8 [ceil(H / block), ceil(W / block), 3], RGB, C-contiguous, upright; None where the
        file cannot be read like this, or not without repairs.
    """
    if not header.reducible(block):
        return None
    height, width = header.size_hw
    small = -(-height // block), -(-width // block)
    pixels = _read_with_opencv(data, replace(header, size_hw=small), flags=_REDUCED[block])
    return None if pixels is None else np.ascontiguousarray(pixels)


def read_pixels(data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """Read an image file of any Pillow mode; of several frames, the first.

    Samples of more than 8 bits and floats are stretched: the smallest value of the image becomes 0
    and the largest 255. Alpha is dropped, as in CVAT's own conversion to RGB, which shows the
    stored colours. Truncated files are read as far as they go, if that is half of the image.

    Args:
        data: the bytes of the file.
        max_pixels: most pixels (width times height) to accept; checked before they are read.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous, upright (EXIF orientation applied).

    Raises:
        NotAnImage: (415) not one of `FORMATS`, damaged beyond reading, or most of it missing.
        TooManyPixels: (413) more than `max_pixels`, a side longer than `MAX_SIDE`, or more than
            the memory holds.
    """
    with _refusals(data, max_pixels=max_pixels):
        header = _read_header(data, max_pixels=max_pixels)
        pixels = _read_with_opencv(data, header)
        if pixels is None:
            pixels = _read_with_pillow(data, max_pixels=max_pixels)
        return np.ascontiguousarray(pixels)


@contextlib.contextmanager
def _refusals(data: bytes, *, max_pixels: int) -> Iterator[None]:
    """Turn whatever a library raises in the block into the errors of `read_pixels`."""
    try:
        yield
    except RequestError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(
            "too_many_pixels",
            f"The image has more than {max_pixels} pixels.",
            field="image",
            hint="Send a smaller image, or raise IOG_MAX_PIXELS on the server.",
        ) from None
    except MemoryError:
        raise TooManyPixels(
            "too_many_pixels",
            "The image needs more memory than there is.",
            field="image",
            hint="Send a smaller image, or give the server more memory.",
        ) from None
    except UnidentifiedImageError:
        raise NotAnImage("not_an_image", _unidentified(data), field="image", hint=_HINT) from None
    except Exception as error:
        # Libraries answer hostile bytes with any exception (struct.error, SyntaxError, KeyError,
        # zlib.error, ...). All of them mean the same to the sender.
        raise NotAnImage(
            "broken_image",
            "The image is damaged and cannot be read.",
            field="image",
            hint=_HINT,
        ) from error


def _unidentified(data: bytes) -> str:
    start = data[:256].lstrip()
    if start.startswith(b"<"):
        return "The image is text, such as SVG or HTML, and has no pixels."
    return "The image is empty." if not data else "The image is of no known format."


def _mostly_missing() -> NotAnImage:
    return NotAnImage(
        "broken_image",
        "The image is damaged: more than half of its pixels are missing.",
        field="image",
        hint=_HINT,
    )


@contextlib.contextmanager
def _opened(data: bytes, *, max_pixels: int, truncated: bool) -> Iterator[Image.Image]:
    """The file opened by Pillow, which for this time counts pixels.

    Args:
        data: the bytes of the file.
        max_pixels: most pixels to accept.
        truncated: whether to accept truncated files.
    """
    with _PILLOW_SWITCHES, warnings.catch_warnings():
        # Remarks on odd metadata must not become errors where warnings are; the limit must.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        try:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = truncated, max_pixels
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                yield picture
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _read_header(data: bytes, *, max_pixels: int) -> Header:
    with _opened(data, max_pixels=max_pixels, truncated=True) as picture:
        size_hw = picture.height, picture.width
        if max(size_hw) > MAX_SIDE:
            raise TooManyPixels(
                "too_many_pixels",
                f"The image has a side of {max(size_hw)} pixels; the limit is {MAX_SIDE}.",
                field="image",
                hint="Send the image in parts.",
            )
        if fraction_present(picture, len(data)) < 0.5:
            raise _mostly_missing()
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # Pillow and OpenCV both turn TIFF upright themselves, and give the upright size.
            bits = picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
            deep = max(bits) > 8 and picture.mode in ("RGB", "RGBA")
            return Header("opencv-deep" if deep else "pillow", size_hw, 1)
        still = not getattr(picture, "is_animated", False)
        if picture.format == "PNG":
            plain = picture.mode in ("L", "LA", "RGB", "RGBA")
            if not (still and plain and _png_is_complete(data)):
                return Header("pillow", size_hw, 1)
            marked = any(mark in data for mark in _PNG_METADATA)
            orientation = _orientation(picture) if marked else 1
            deep = data[24] == 16  # bit depth in IHDR, which is always the first chunk
            return Header("opencv-deep" if deep else "opencv", size_hw, orientation)
        # The second picture of an MPO is a preview or the other eye; cameras write them as JPEG.
        still = still or picture.format == "MPO"
        plain = picture.format in ("JPEG", "MPO", "BMP", "WEBP") and picture.mode in ("L", "RGB")
        if still and plain:
            jpeg = picture.format in ("JPEG", "MPO")
            return Header("opencv", size_hw, _orientation(picture), jpeg)
        return Header("pillow", size_hw, 1)


def _png_is_complete(data: bytes) -> bool:
    """Whether all chunks up to the last are there in full.

    OpenCV sets memory aside for a chunk before it looks whether so much data follows: one damaged
    length costs 4 GB and many seconds.
    """
    start = 8
    while start + 12 <= len(data):  # length, name, content, checksum
        name = data[start + 4 : start + 8]
        start += 12 + int.from_bytes(data[start : start + 4], "big")
        if name == b"IEND":
            return start <= len(data)
    return False


def _read_with_opencv(
    data: bytes, header: Header, *, flags: int = cv2.IMREAD_COLOR_RGB
) -> NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3], upright; None where Pillow must read it."""
    if header.reader == "pillow":
        return None
    deep = header.reader == "opencv-deep"
    flags = cv2.IMREAD_UNCHANGED if deep else flags | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    # None for damaged files, which Pillow reads as far as they go.
    if pixels is None or pixels.ndim != 3 or pixels.shape[:2] != header.size_hw:
        return None
    if not deep:
        return _upright(pixels.astype(np.uint8, copy=False), header.orientation)
    # IMREAD_UNCHANGED gives BGR or BGRA: keep the colours, red first.
    colours = pixels[..., 2::-1]
    eight_bit = _stretched(lambda top, bottom: colours[top:bottom], shape=header.size_hw)
    return _upright(eight_bit, header.orientation)


def _read_with_pillow(data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3], upright, of any mode."""
    try:
        with _opened(data, max_pixels=max_pixels, truncated=False) as picture:
            picture.load()
            return pillow_pixels(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except Exception:
        # Cut off, or damaged on the way: once more, as far as it goes. Not from here, where the
        # traceback would keep the first attempt in memory.
        pass
    with _opened(data, max_pixels=max_pixels, truncated=True) as picture:
        picture.load()
        if ends_in_nothing(picture):
            raise _mostly_missing()
        return pillow_pixels(picture)


def pillow_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3], upright, of a picture that is loaded."""
    orientation = _orientation(picture)
    if picture.mode in _DEEP_MODES:
        # Piece by piece, for Pillow hands its pixels over as a copy of a copy.
        pixels = _stretched(
            lambda top, bottom: np.asarray(picture.crop((0, top, picture.width, bottom))),
            shape=(picture.height, picture.width),
        )
        return _upright(pixels, orientation)
    plain = picture
    if picture.mode in ("P", "PA", "RGBa") or "transparency" in picture.info:
        # By way of RGBA the colours behind transparent pixels stay what the file says.
        plain = picture.convert("RGBA")
    return _upright(np.asarray(plain.convert("RGB")), orientation)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or it cannot be read."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as with pixels: damaged metadata raises anything, and is no reason to fail
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Applies an EXIF orientation, which says where the first row and the first column belong."""
    if orientation >= 5:  # first row is a side: swap the axes
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _stretched(
    rows: Callable[[int, int], NDArray[Any]], *, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Values of any range -> uint8 [H, W, 3], smallest 0, largest 255.

    One scale for all channels, so that colours keep their balance. NaN becomes 0, infinities the
    end of the range they point to, and a constant image the nearest of 0..255.

    Args:
        rows: gives the values [n, W] or [n, W, 3] of the rows from one number up to another.
        shape: height and width.
    """
    height, width = shape
    step = max(1, _BLOCK_PIXELS // width)
    blocks = [(top, min(top + step, height)) for top in range(0, height, step)]
    ranges = [found for top, bottom in blocks if (found := _finite_range(rows(top, bottom)))]
    low = min((found[0] for found in ranges), default=0.0)
    high = max((found[1] for found in ranges), default=0.0)
    table = None
    if isinstance(low, int) and isinstance(high, int) and high - low < _TABLE_LENGTH:
        table = _scaled(np.arange(low, high + 1), low=low, high=high)
    pixels = np.empty((height, width, 3), np.uint8)
    for top, bottom in blocks:
        values = rows(top, bottom)
        values = _scaled(values, low=low, high=high) if table is None else table[values - low]
        grey = values.ndim == 2
        pixels[top:bottom] = cv2.cvtColor(values, cv2.COLOR_GRAY2RGB) if grey else values
    return pixels


def _finite_range(values: NDArray[Any]) -> tuple[float, float] | None:
    """Smallest and largest of the finite values, int for integers; None where there are none."""
    low, high = values.min().item(), values.max().item()
    if np.isfinite(low) and np.isfinite(high):  # NaN would be both
        return low, high
    finite = values[np.isfinite(values)]
    return (finite.min().item(), finite.max().item()) if finite.size else None


def _scaled(values: NDArray[Any], *, low: float, high: float) -> NDArray[np.uint8]:
    """Maps low..high to 0..255; where both are equal, keeps what lies in that range."""
    scaled = values.astype(np.float64)  # the differences of 32-bit integers need it
    if high > low:
        scaled -= low
        scaled *= 255 / (high - low)
    np.clip(scaled, 0, 255, out=scaled)
    scaled[np.isnan(scaled)] = 0
    return np.rint(scaled, out=scaled).astype(np.uint8)
