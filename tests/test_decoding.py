from __future__ import annotations

import io
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from iog import decoding as images
from iog.errors import NotAnImage, TooManyPixels
from tests import builders

LIMIT = 1_000_000

# Mean absolute difference to the pattern that each kind of file may show: 0 where the format keeps
# every colour, a little where it compresses, more for the palette of 256 web colours.
COLOUR = {
    "png-RGB": 0.0,
    "png-RGBA": 0.0,
    "png-animated": 0.0,
    "bmp-RGB": 0.0,
    "webp-RGB": 0.0,
    "webp-RGBA": 0.0,
    "jpeg2000-RGB": 0.0,
    "ppm-RGB": 0.0,
    "tiff-RGB-lzw": 0.0,
    "tiff-RGBA": 0.0,
    "tiff-CMYK": 0.0,
    "jpeg-CMYK": 1.0,
    "tiff-YCbCr": 2.0,
    "tiff-LAB": 2.5,
    "jpeg-RGB": 2.5,
    "jpeg-progressive": 2.5,
    "jpeg-mpo": 2.5,
    "webp-animated": 3.0,
    "gif-animated": 4.0,
    "png-P-transparent": 15.0,
    "png-P": 20.0,
    "bmp-P": 20.0,
    "gif-P": 20.0,
}
GREY = ("png-L", "png-LA", "jpeg-L", "jpeg2000-L", "pgm-L")
DEEP = ("png-I;16", "png-LA-16", "tiff-I;16", "tiff-I;16B", "tiff-I", "tiff-F")


def read(data: bytes) -> NDArray[np.uint8]:
    return images.read_pixels(data, max_pixels=LIMIT)


def forbidden(*_: object) -> None:
    raise AssertionError("not to be called")


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


def stretched(values: NDArray[Any]) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    scaled: NDArray[np.float64] = (wide - wide.min()) / (wide.max() - wide.min()) * 255
    return scaled


@pytest.mark.parametrize("kind", builders.READABLE)
def test_every_mode_and_format_becomes_rgb_uint8(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    assert pixels.shape == (builders.HEIGHT, builders.WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.max() > pixels.min()


@pytest.mark.parametrize("kind", COLOUR)
def test_colours_arrive_in_the_right_channels(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    assert difference(pixels, builders.pattern()) <= COLOUR[kind]


@pytest.mark.parametrize("kind", GREY)
def test_grey_images_repeat_their_channel(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    grey = np.asarray(Image.fromarray(builders.pattern()).convert("L"))
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    assert difference(pixels[..., 0], grey) < 1


@pytest.mark.parametrize("kind", ["png-1", "tiff-1"])
def test_bilevel_images_are_black_and_white(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    expected = np.asarray(Image.fromarray(builders.pattern()).convert("1"))
    assert np.array_equal(pixels[..., 0], expected * 255)


@pytest.mark.parametrize("kind", DEEP)
def test_deep_grey_is_stretched_not_clipped(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(pixels[..., 0] - stretched(builders.grey16())).max() <= 0.6


@pytest.mark.parametrize(
    "kind", ["png-RGB-16", "png-RGBA-16", "tiff-RGB-16", "tiff-RGB-16-big-endian"]
)
def test_deep_colour_is_stretched_by_one_scale(kind: str) -> None:
    pixels = read(builders.READABLE[kind]())
    assert np.abs(pixels - stretched(builders.pattern())).max() <= 0.6


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[np.nan, 0.0], [1.0, 2.0]], [[0, 0], [128, 255]]),
        ([[np.inf, -np.inf], [-3.0, 1.0]], [[255, 0], [0, 255]]),
        ([[np.nan, np.nan], [np.inf, -np.inf]], [[0, 0], [255, 0]]),
        ([[7.0, 7.0], [7.0, 7.0]], [[7, 7], [7, 7]]),
        ([[9e9, 9e9], [9e9, 9e9]], [[255, 255], [255, 255]]),
        ([[-3e38, 3e38], [0.0, 3e38]], [[0, 255], [128, 255]]),
    ],
)
def test_odd_floats(values: list[list[float]], expected: list[list[int]]) -> None:
    image = Image.fromarray(np.array(values, dtype=np.float32))
    assert read(builders.saved(image, "TIFF"))[..., 0].tolist() == expected


def test_32_bit_integers_do_not_overflow() -> None:
    values = np.array([[-(2**31), 2**31 - 1], [0, 0]], dtype=np.int32)
    pixels = read(builders.saved(Image.fromarray(values), "TIFF"))
    assert pixels[..., 0].tolist() == [[0, 255], [128, 128]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("span", [1, 65_535, 65_536, 2**31])
def test_every_row_of_a_large_deep_image_has_the_same_scale(dtype: type, span: int) -> None:
    # Several blocks of rows, the last one shorter; the ends of the range far from each other.
    drawn = np.random.default_rng(3).integers(-9, span - 9, (1001, 301))
    values: NDArray[Any] = drawn.astype(dtype)
    values[2, 7], values[-1, 5] = -9, span - 9
    pixels = read(builders.saved(Image.fromarray(values), "TIFF"))
    assert np.abs(pixels[..., 1] - stretched(values)).max() <= 0.5 + 1e-4


def test_stretching_takes_little_more_memory_than_the_result() -> None:
    values = np.random.default_rng(4).normal(size=(1000, 1000)).astype(np.float32)
    data = builders.saved(Image.fromarray(values), "TIFF")
    read(data)
    tracemalloc.start()
    try:
        pixels = read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * pixels.nbytes


@pytest.mark.parametrize("kind", ["png-L", "png-LA", "png-RGB", "png-RGBA", "bmp-RGB", "webp-RGB"])
def test_opencv_and_pillow_agree_bit_for_bit(kind: str) -> None:
    data = builders.READABLE[kind]()
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(read(data), np.asarray(picture.convert("RGB")))


def test_jpeg_equals_what_pillow_and_so_cvat_shows() -> None:
    data = builders.photo("JPEG", quality=80)
    with Image.open(io.BytesIO(data)) as picture:
        assert difference(read(data), np.asarray(picture)) < 0.1


def test_colours_behind_transparent_pixels_stay() -> None:
    image = Image.fromarray(builders.pattern())
    image.putalpha(0)
    assert np.array_equal(read(builders.saved(image, "PNG")), builders.pattern())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, file_format: str) -> None:
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    if file_format == "WEBP":
        options["lossless"] = True
    data = builders.oriented(orientation, file_format, **options)
    with Image.open(io.BytesIO(data)) as picture:
        # Pillow turns TIFF upright while it loads; the others are left to exif_transpose.
        upright = np.asarray(ImageOps.exif_transpose(picture))
    pixels = read(data)
    assert pixels.shape == upright.shape
    assert pixels.shape[0] == (builders.HEIGHT if orientation < 5 else builders.WIDTH)
    assert difference(pixels, upright) < 1


@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate([(0, 0), (0, -1), (-1, -1), (-1, 0)] * 2, start=1)),
)
def test_the_first_stored_pixel_goes_where_exif_says(
    orientation: int, corner: tuple[int, int]
) -> None:
    # 1..8 in the words of the EXIF standard: where row 0 and column 0 of the file are seen.
    marked = np.zeros((8, 16, 3), dtype=np.uint8)
    marked[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(builders.saved(Image.fromarray(marked), "PNG", exif=exif))
    assert pixels[corner].tolist() == [255, 255, 255]
    assert np.count_nonzero(pixels) == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colour_tiff_is_upright_too(orientation: int) -> None:
    data = builders.deep_tiff(orientation)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()  # turns it upright
        upright = np.asarray(picture)
    pixels = read(data)
    assert pixels.shape == upright.shape
    assert difference(pixels, stretched(upright)) < 8  # Pillow keeps 8 of the 12 bits


def test_damaged_exif_does_not_matter() -> None:
    data = builders.photo("JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + bytes(8))
    assert read(data).shape == (builders.HEIGHT, builders.WIDTH, 3)


def test_metadata_that_raises_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: Image.Image) -> None:
        raise struct.error("unpack requires a buffer of 8 bytes")

    monkeypatch.setattr(Image.Image, "getexif", damaged)
    assert np.array_equal(read(builders.photo("BMP")), builders.pattern())


@pytest.mark.parametrize("kind", builders.UNREADABLE)
def test_what_is_no_image_is_refused(kind: str) -> None:
    with pytest.raises(NotAnImage) as caught:
        read(builders.UNREADABLE[kind]())
    assert caught.value.status == 415
    assert caught.value.field == "image"
    assert "JPEG" in caught.value.hint


def test_svg_and_emptiness_are_named() -> None:
    with pytest.raises(NotAnImage, match="SVG"):
        read(builders.UNREADABLE["svg"]())
    with pytest.raises(NotAnImage, match="empty"):
        read(b"")


def test_the_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", forbidden)
    monkeypatch.setattr(ImageFile.ImageFile, "load", forbidden)
    for height, width in ((1001, 1000), (50_000, 50_000)):
        with pytest.raises(TooManyPixels, match="1000000") as caught:
            read(builders.announcing(width, height))
        assert caught.value.status == 413
        assert "IOG_MAX_PIXELS" in caught.value.hint


def test_the_limit_itself_is_allowed() -> None:
    data = builders.photo()
    pixels = builders.HEIGHT * builders.WIDTH
    assert images.read_pixels(data, max_pixels=pixels).shape[:2] == (
        builders.HEIGHT,
        builders.WIDTH,
    )
    with pytest.raises(TooManyPixels):
        images.read_pixels(data, max_pixels=pixels - 1)


@pytest.mark.parametrize(("width", "height"), [(65_536, 1), (1, 65_536), (900_000, 1)])
def test_a_line_of_any_number_of_pixels_is_refused(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_read_with_opencv", forbidden)
    with pytest.raises(TooManyPixels, match="65535") as caught:
        read(builders.announcing(width, height))
    assert (caught.value.status, caught.value.code) == (413, "too_many_pixels")


def test_the_longest_side_itself_is_allowed() -> None:
    data = builders.saved(Image.new("L", (3, images.MAX_SIDE), 255), "PNG")
    assert read(data).shape == (images.MAX_SIDE, 3, 3)


def test_a_limit_above_pillows_own_is_the_one_that_counts() -> None:
    own = Image.MAX_IMAGE_PIXELS
    assert own is not None
    data = builders.saved(Image.new("1", (20_000, own // 20_000 + 2)), "PNG")
    assert images.read_pixels(data, max_pixels=2 * own).shape[1] == 20_000


def test_memory_that_does_not_suffice_is_the_senders_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_read_with_opencv", exhausted)
    with pytest.raises(TooManyPixels, match="memory"):
        read(builders.photo())


def test_opencv_errors_fall_back_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise cv2.error("decoder failed")

    monkeypatch.setattr(cv2, "imdecode", failing)
    assert np.array_equal(read(builders.photo("PNG")), builders.pattern())


def test_pillows_switches_are_left_as_they_were() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    kinds = ["png-P", "jpeg-truncated", "tiff-CMYK", "gif-P"] * 6
    with ThreadPoolExecutor(4) as pool:
        shapes = list(pool.map(lambda kind: read(builders.READABLE[kind]()).shape, kinds))
    with pytest.raises(NotAnImage):
        read(b"GIF89a")
    assert shapes == [(builders.HEIGHT, builders.WIDTH, 3)] * len(kinds)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)


_SEEDS = {kind: build() for kind, build in builders.READABLE.items()}


@given(
    st.sampled_from(sorted(_SEEDS)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=12),
    st.integers(0, 2**16),
)
def test_mutated_files_are_read_or_refused(
    kind: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(_SEEDS[kind])
    for position, value in changes:
        data[position % len(data)] = value
    try:
        pixels = read(bytes(data[: max(length, 1)]))
    except (NotAnImage, TooManyPixels):
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= LIMIT


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        read(data)
