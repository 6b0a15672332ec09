from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from iog import decoding as images
from iog.errors import NotAnImage
from tests import builders

LIMIT = 178_000_000
NOISE = np.random.default_rng(11).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def read(data: bytes) -> NDArray[np.uint8]:
    return images.read_pixels(data, max_pixels=LIMIT)


def noise(file_format: str, **options: Any) -> bytes:  # noqa: ANN401
    return builders.saved(Image.fromarray(NOISE), file_format, **options)


# How much of the file is how much of the picture: formats that do not compress, or noise.
LINEAR = {
    "jpeg": lambda: noise("JPEG", quality=95),
    "png": lambda: noise("PNG"),
    "png-16": lambda: builders.encoded(NOISE.astype(np.uint16) * 257, ".png"),
    "png-interlaced": lambda: builders.interlaced_png(NOISE),
    "ppm": lambda: noise("PPM"),
    "bmp": lambda: noise("BMP"),
    "tiff": lambda: noise("TIFF"),
    "tiff-I;16B": lambda: builders.saved(Image.fromarray(NOISE[..., 0].astype(">u2")), "TIFF"),
    "tiff-F": lambda: builders.saved(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("missing", [1, 2, 12, 60, 200])
def test_slightly_truncated_files_are_read_as_far_as_they_go(
    file_format: str, missing: int
) -> None:
    options: dict[str, Any] = {"quality": 95} if file_format == "JPEG" else {}
    data = builders.photo(file_format, **options)
    whole, cut = read(data), read(data[:-missing])
    assert cut.shape == whole.shape
    assert np.array_equal(cut[:8], whole[:8])


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_with_more_than_half_of_the_image_is_read(kind: str, share: float) -> None:
    data = LINEAR[kind]()
    whole, cut = read(data), read(data[: int(len(data) * share)])
    same = (whole == cut).all(axis=-1).mean()
    assert same > share - 0.05


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("share", [0.1, 0.45])
def test_a_file_with_less_than_half_of_the_image_is_refused(kind: str, share: float) -> None:
    data = LINEAR[kind]()
    with pytest.raises(NotAnImage, match="half of its pixels are missing") as caught:
        read(data[: int(len(data) * share)])
    assert (caught.value.status, caught.value.code) == (415, "broken_image")


@pytest.mark.parametrize("kind", builders.HOLLOW)
def test_a_header_without_pixels_is_refused_before_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("not to be called")

    monkeypatch.setattr(cv2, "imdecode", forbidden)
    monkeypatch.setattr(ImageFile.ImageFile, "load", forbidden)
    data = builders.HOLLOW[kind]()
    assert len(data) < 1000
    with pytest.raises(NotAnImage, match="half of its pixels are missing") as caught:
        read(data)
    assert caught.value.code == "broken_image"


@pytest.mark.parametrize("kind", [kind for kind in builders.READABLE if "truncated" not in kind])
def test_whole_files_are_decoded_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[bool] = []
    opened = images._opened

    def counted(data: bytes, *, max_pixels: int, truncated: bool) -> Any:  # noqa: ANN401
        attempts.append(truncated)
        return opened(data, max_pixels=max_pixels, truncated=truncated)

    monkeypatch.setattr(images, "_opened", counted)
    read(builders.READABLE[kind]())
    assert attempts in ([True], [True, False])  # the header, and perhaps Pillow's strict decoding


@pytest.mark.parametrize(
    ("file_format", "mode", "options"),
    [
        ("PNG", "1", {}),
        ("PNG", "L", {"optimize": True}),
        ("PNG", "RGB", {"compress_level": 9}),
        ("GIF", "P", {}),
        ("JPEG", "L", {"quality": 1, "optimize": True, "progressive": True}),
        ("JPEG", "RGB", {"quality": 1, "optimize": True, "progressive": True}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "L", {"compression": "tiff_deflate"}),
        ("WEBP", "RGB", {"lossless": True}),
        ("JPEG2000", "L", {}),
    ],
)
@pytest.mark.parametrize("colour", [0, 1])
def test_a_complete_image_of_one_colour_is_no_hollow_one(
    file_format: str, mode: str, options: dict[str, Any], colour: int
) -> None:
    image = Image.new("1", (1200, 900), colour).convert(mode)
    data = builders.saved(image, file_format, **options)
    pixels = read(data)
    assert pixels.shape == (900, 1200, 3)
    assert len(np.unique(pixels)) == 1
