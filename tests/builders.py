"""Small images of every mode and format, and request bodies made of them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 40, 56
BOX = [[10.5, 8.25], [40.0, 30.75]]
CLICK = [25.0, 19.5]


def pattern(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3]: smooth, coloured, and unlike its mirror images and rotations.

    Red grows to the right, green downwards; blue is bright in the upper left corner only.
    """
    y, x = np.mgrid[:height, :width]
    blue = 220 * np.exp(-((x / width) ** 2 + (y / height) ** 2) * 6)
    planes = (20 + 210 * x / width, 10 + 180 * y / height, blue)
    pixels: NDArray[np.uint8] = np.rint(np.stack(planes, axis=-1)).astype(np.uint8)
    return pixels


def grey16(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint16]:
    """Twelve-bit values in uint16 [H, W], as microscopes and X-ray devices write them."""
    y, x = np.mgrid[:height, :width]
    values: NDArray[np.uint16] = (150 + 3900 * (x + y) / (height + width - 2)).astype(np.uint16)
    return values


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:  # noqa: ANN401
    """What Pillow writes for the image."""
    target = io.BytesIO()
    image.save(target, file_format, **options)
    return target.getvalue()


def encoded(pixels: NDArray[Any], extension: str) -> bytes:
    """What OpenCV writes for pixels in its own (BGR) channel order."""
    done, data = cv2.imencode(extension, pixels)
    assert done
    return data.tobytes()


def photo(file_format: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401
    """The pattern in one of Pillow's modes and formats."""
    return saved(Image.fromarray(pattern()).convert(mode), file_format, **options)


def oriented(orientation: int, file_format: str = "JPEG", **options: Any) -> bytes:  # noqa: ANN401
    """The pattern stored as it is, with an EXIF tag that tells viewers to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(pattern()), file_format, exif=exif, **options)


def translucent(mode: str) -> Image.Image:
    """The pattern with alpha falling from 255 to 0 from left to right; modes with alpha only."""
    alpha = np.repeat(np.linspace(255, 0, WIDTH).astype(np.uint8)[None], HEIGHT, axis=0)
    image = Image.fromarray(pattern())
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


def palette_with_transparency() -> bytes:
    """PNG of mode P of which one palette entry is fully transparent."""
    image = Image.fromarray(pattern()).quantize(16)
    return saved(image, "PNG", transparency=3)


def animation(file_format: str) -> bytes:
    """Two frames: the pattern, and its negative."""
    first = Image.fromarray(pattern())
    second = Image.fromarray(255 - pattern())
    return saved(first, file_format, save_all=True, append_images=[second])


def announcing(width: int, height: int) -> bytes:
    """A PNG whose header announces a size and whose pixels are missing."""
    data = bytearray(saved(Image.new("1", (1, 1)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def gif_screen(width: int, height: int) -> bytes:
    """A GIF of a size that holds a frame of one pixel."""
    frame = saved(Image.new("P", (1, 1)), "GIF")
    return frame[:6] + struct.pack("<HH", width, height) + frame[10:]


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG that announces a size, and ends where the pixels should begin."""
    data = bytearray(photo("JPEG"))
    size_at = data.index(b"\xff\xc0") + 5  # in the frame header, after length and precision
    data[size_at : size_at + 4] = struct.pack(">HH", height, width)
    return bytes(data[: data.index(b"\xff\xda") + 16]) + b"\xff\xd9"


def bmp_header(width: int, height: int) -> bytes:
    """A BMP that announces a size and has one row of a small image."""
    data = photo("BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26 : 54 + 3 * WIDTH]


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Length, name, content and checksum."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def interlaced_png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB [H, W, 3] in the seven passes of Adam7, written by hand: no library here can."""
    height, width = pixels.shape[:2]
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]  # fmt: skip - first column, first row, steps of both
    lines = b"".join(
        b"\0" + line.tobytes() for x, y, dx, dy in passes for line in pixels[y::dy, x::dx]
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def grey16_with_alpha() -> bytes:
    """PNG of grey and alpha with 16 bits each, written by hand: no library here can."""
    samples = np.stack([grey16(), grey16()[::-1]], axis=-1).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in samples)  # filter 0, then the samples
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def _rgb16() -> NDArray[np.uint16]:
    """Pattern with values of twelve bits, uint16 [H, W, 3], BGR for OpenCV."""
    return (pattern()[..., ::-1].astype(np.uint16) * 16) + 100


def deep_tiff(orientation: int = 1, *, byte_order: str = "<") -> bytes:
    """Uncompressed TIFF of RGB with 16 bits a channel, written by hand: no library here can.

    `byte_order` is "<" or ">", as in the struct module.
    """
    pixels = _rgb16()[..., ::-1].astype(f"{byte_order}u2").tobytes()
    bits_at, pixels_at = 8, 14
    tags = [  # (tag, type 3 = SHORT or 4 = LONG, count, value)
        (256, 3, 1, WIDTH),
        (257, 3, 1, HEIGHT),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),  # no compression
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, pixels_at),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),  # samples per pixel
        (278, 3, 1, HEIGHT),  # rows per strip
        (279, 4, 1, len(pixels)),
        (284, 3, 1, 1),  # red, green, blue of a pixel side by side
    ]
    directory = struct.pack(f"{byte_order}H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        number = struct.pack(f"{byte_order}{'HH' if short else 'I'}", value, *([0] * short))
        directory += struct.pack(f"{byte_order}HHI", tag, kind, count) + number
    magic = b"II" if byte_order == "<" else b"MM"
    head = magic + struct.pack(f"{byte_order}HI", 42, pixels_at + len(pixels))
    return head + struct.pack(f"{byte_order}3H", 16, 16, 16) + pixels + directory + bytes(4)


# Every kind of file that must be read, each of HEIGHT x WIDTH pixels.
READABLE: dict[str, Callable[[], bytes]] = {
    "png-1": lambda: photo("PNG", "1"),
    "png-L": lambda: photo("PNG", "L"),
    "png-LA": lambda: saved(translucent("LA"), "PNG"),
    "png-P": lambda: photo("PNG", "P"),
    "png-P-transparent": palette_with_transparency,
    "png-RGB": lambda: photo("PNG", "RGB"),
    "png-RGBA": lambda: saved(translucent("RGBA"), "PNG"),
    "png-I;16": lambda: saved(Image.fromarray(grey16()), "PNG"),
    "png-LA-16": grey16_with_alpha,
    "png-RGB-16": lambda: encoded(_rgb16(), ".png"),
    "png-RGBA-16": lambda: encoded(np.dstack([_rgb16(), grey16()]), ".png"),
    "png-animated": lambda: animation("PNG"),
    "jpeg-L": lambda: photo("JPEG", "L"),
    "jpeg-RGB": lambda: photo("JPEG", "RGB"),
    "jpeg-CMYK": lambda: photo("JPEG", "CMYK"),
    "jpeg-progressive": lambda: photo("JPEG", "RGB", progressive=True),
    "jpeg-truncated": lambda: photo("JPEG", "RGB", quality=95)[:-40],
    "jpeg-mpo": lambda: animation("MPO"),
    "png-truncated": lambda: photo("PNG", "RGB")[:-40],
    "bmp-RGB": lambda: photo("BMP", "RGB"),
    "bmp-P": lambda: photo("BMP", "P"),
    "webp-RGB": lambda: photo("WEBP", "RGB", lossless=True),
    "webp-RGBA": lambda: saved(translucent("RGBA"), "WEBP", lossless=True, exact=True),
    "webp-animated": lambda: animation("WEBP"),
    "gif-P": lambda: photo("GIF", "P"),
    "gif-animated": lambda: animation("GIF"),
    "jpeg2000-RGB": lambda: photo("JPEG2000", "RGB"),
    "jpeg2000-L": lambda: photo("JPEG2000", "L"),
    "ppm-RGB": lambda: photo("PPM", "RGB"),
    "pgm-L": lambda: photo("PPM", "L"),
    "tiff-1": lambda: photo("TIFF", "1"),
    "tiff-RGB-lzw": lambda: photo("TIFF", "RGB", compression="tiff_lzw"),
    "tiff-RGBA": lambda: saved(translucent("RGBA"), "TIFF"),
    "tiff-CMYK": lambda: photo("TIFF", "CMYK"),
    "tiff-YCbCr": lambda: photo("TIFF", "YCbCr"),
    "tiff-LAB": lambda: photo("TIFF", "LAB"),
    "tiff-I;16": lambda: saved(Image.fromarray(grey16()), "TIFF", compression="tiff_lzw"),
    "tiff-I;16B": lambda: saved(Image.fromarray(grey16().astype(">u2")), "TIFF"),
    "tiff-I": lambda: saved(Image.fromarray(grey16().astype(np.int32) - 70000), "TIFF"),
    "tiff-F": lambda: saved(Image.fromarray(grey16().astype(np.float32) / 1e6), "TIFF"),
    "tiff-RGB-16": lambda: encoded(_rgb16(), ".tiff"),
    "tiff-RGB-16-big-endian": lambda: deep_tiff(byte_order=">"),
}

# What is no image, or none that can be read: 415 for each.
UNREADABLE: dict[str, Callable[[], bytes]] = {
    "text": lambda: b"this is not an image, however long one looks at it",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "pdf": lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< >>\nendobj\n",
    "zip": lambda: b"PK\x03\x04" + bytes(60),
    "random": lambda: np.random.default_rng(7).bytes(4000),
    "zeros": lambda: bytes(4000),
    "signature-only": lambda: b"\x89PNG\r\n\x1a\n",
    "jpeg-header-only": lambda: photo("JPEG", "RGB")[:20],
    "webp-truncated": lambda: photo("WEBP", "RGB")[:60],
    "bmp-of-text": lambda: b"BMW is a maker of cars, and this is a sentence about them.",
}

# A few bytes that announce an image of 130 to 170 million pixels: 415 for each.
HOLLOW: dict[str, Callable[[], bytes]] = {
    "ppm-hollow": lambda: b"P6\n13000 13000\n255\n" + bytes(4),
    "pgm-16-hollow": lambda: b"P5\n13000 13000\n65535\n" + bytes(4),
    "pgm-12-hollow": lambda: b"P5\n13000 13000\n4095\n" + bytes(4),
    "ppm-plain-hollow": lambda: b"P3\n13000 13000\n255\n1 2 3\n",
    "pbm-plain-hollow": lambda: b"P1\n13000 13000\n1 0\n",
    "pfm-hollow": lambda: b"Pf\n13000 13000\n-1.0\n" + bytes(4),
    "png-hollow": lambda: announcing(13_000, 13_000),
    "gif-hollow": lambda: gif_screen(65_535, 2_000),
    "jpeg-hollow": lambda: jpeg_header(13_000, 13_000),
    "bmp-hollow": lambda: bmp_header(13_000, 13_000),
}


def body(image: bytes | None = None, /, **fields: object) -> dict[str, object]:
    """A request that is fine, with the given fields replaced; a field set to `...` is left out."""
    data = photo() if image is None else image
    request: dict[str, object] = {
        "image": base64.b64encode(data).decode("ascii"),
        "pos_points": [CLICK],
        "neg_points": [],
        "obj_bbox": BOX,
    }
    request.update(fields)
    return {name: value for name, value in request.items() if value is not ...}
