from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataloaders.geometry import Box, Crop, CropRule
from iog import image as images
from iog.cache import Cache
from iog.decoding import read_pixels
from iog.errors import NotAnImage, TooManyPixels
from iog.image import Image as IogImage
from iog.image import ImageLike
from iog.settings import Settings
from model_handler import ModelHandler
from tests.builders import READABLE, saved

MEAN = CropRule(input_size=32, margin_px=4, antialias=True)
SAMPLED = CropRule(input_size=32, margin_px=4)
LIMIT = 10_000_000
ROOT = Path(__file__).parent.parent


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture that JPEG keeps almost as it is."""
    yy, xx = np.mgrid[:height, :width]
    waves = [np.sin(xx / 23 + k) * np.cos(yy / (17 + 3 * k)) for k in range(3)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:  # noqa: ANN401
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


def opened(source: ImageLike, cache: Cache | None = None) -> IogImage:
    return IogImage(source, cache=cache or Cache(16 << 20), max_pixels=LIMIT)


@pytest.mark.parametrize("kind", READABLE)
def test_the_size_is_that_of_the_decoded_image(kind: str) -> None:
    data = READABLE[kind]()
    cache = Cache(16 << 20)
    for photo in (opened(data, cache), opened(data, cache), opened(data), IogImage(data)):
        assert photo.size == photo.pixels().shape[:2]
        np.testing.assert_array_equal(photo.pixels(), read_pixels(data, max_pixels=LIMIT))
        assert not photo.pixels().flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("box", "block"),
    [
        ((10.0, 20.0, 90.0, 100.0), 1),
        ((5.0, 30.0, 160.0, 190.0), 2),
        ((-40.0, 30.0, 300.0, 400.0), 4),
        ((0.0, 0.0, 511.0, 640.0), 8),
    ],
)
@pytest.mark.parametrize("width", [512, 509])
def test_a_window_of_a_jpeg_is_that_of_its_pixels(
    box: Box, block: int, orientation: int, width: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = opened(jpeg(smooth(640, width), exif=exif))
    crop = Crop.around(box, MEAN)
    assert crop.reduction == block
    difference = np.abs(photo.window(crop) - crop.extract(photo.pixels()))
    inside = difference[1:-1, 1:-1]  # beyond the image's last rows a block is no mean
    assert inside.max() <= 3
    assert difference.mean() <= 0.6


def test_a_jpeg_is_decoded_no_larger_than_the_crop_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("not to be called")

    photo = opened(jpeg(smooth(640, 512)))
    monkeypatch.setattr(images, "read_pixels", forbidden)
    photo.window(Crop.around((0, 0, 500, 600), MEAN))
    with pytest.raises(AssertionError):
        photo.window(Crop.around((0, 0, 40, 60), MEAN))


def test_a_rule_that_samples_gets_the_pixels_themselves() -> None:
    photo = opened(jpeg(smooth(640, 512)))
    crop = Crop.around((0, 0, 500, 600), SAMPLED)
    np.testing.assert_array_equal(photo.window(crop), crop.extract(photo.pixels()))


def test_a_window_does_not_depend_on_what_was_asked_before() -> None:
    data = jpeg(smooth(640, 512))
    crop = Crop.around((20, 30, 500, 600), MEAN)
    alone = opened(data).window(crop)
    photo = opened(data)
    photo.pixels()
    photo.window(Crop.around((20, 30, 200, 300), MEAN))
    np.testing.assert_array_equal(photo.window(crop), alone)


def test_files_that_are_no_jpeg_give_the_same_window_as_their_pixels() -> None:
    pixels = smooth(640, 509)
    photo = opened(saved(Image.fromarray(pixels), "PNG"))
    crop = Crop.around((20, 30, 500, 600), MEAN)
    np.testing.assert_array_equal(photo.window(crop), opened(pixels).window(crop))


def test_a_truncated_jpeg_is_repaired_as_ever() -> None:
    data = jpeg(smooth(640, 512))
    data = data[: len(data) * 4 // 5]
    photo = opened(data)
    crop = Crop.around((20, 30, 500, 600), MEAN)
    expected = crop.extract(read_pixels(data, max_pixels=LIMIT))
    np.testing.assert_array_equal(photo.window(crop), expected)


def test_what_is_no_image_is_refused_when_opened_or_when_its_pixels_are_needed() -> None:
    with pytest.raises(NotAnImage):
        opened(b"GIF89a")
    with pytest.raises(TooManyPixels):
        opened(saved(Image.new("L", (10_001, 1000)), "PNG"))
    data = bytearray(saved(Image.new("L", (64, 64)), "BMP"))
    with pytest.raises(NotAnImage):
        opened(bytes(data[:900])).pixels()


def test_time_spent_on_the_file_is_told() -> None:
    photo = opened(jpeg(smooth(640, 512)))
    before = photo.open_ms
    photo.pixels()
    assert 0 < before < photo.open_ms


def test_files_are_known_by_their_bytes_and_pixels_by_themselves(tmp_path: Path) -> None:
    data = jpeg(smooth(64, 51))
    (tmp_path / "a.jpg").write_bytes(data)
    assert opened(data).key == opened(tmp_path / "a.jpg").key == opened(str(tmp_path / "a.jpg")).key
    assert opened(data).key != opened(jpeg(smooth(64, 52))).key
    pixels = smooth(64, 51)
    assert opened(pixels).key != opened(pixels).key
    assert IogImage(pixels, key="mine").key == "mine"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_a_pil_image_of_any_mode_is_taken(mode: str) -> None:
    picture = Image.fromarray(smooth(40, 56)).convert(mode)
    assert opened(picture).size == (40, 56)
    np.testing.assert_array_equal(opened(picture).pixels(), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5)), np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), np.zeros((0, 5, 3))],
)
def test_arrays_of_another_form_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="not uint8 RGB"):
        opened(array)


@pytest.mark.parametrize(("side", "block"), [(1500, 2), (2600, 4)])
def test_masks_from_reduced_pixels_are_those_from_all_pixels(side: int, block: int) -> None:
    """With the bundled weights, on a photograph; the rounding to 8 bits alone changes as much."""
    with Image.open(ROOT / "examples" / "astronaut.jpg") as picture:
        large = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    handler = ModelHandler(Settings(threads=1, device="cpu"))
    photo = handler.open(saved(large, "JPEG", quality=90))
    scale = side / 512
    box = (5 * scale, 4 * scale, 370 * scale, 512 * scale)
    assert Crop.around(box, handler.predictor.rule).reduction == block
    found = [
        handler.predict(image, boxes=[box], pos_points=[(190 * scale, 320 * scale)])[0].array
        for image in (photo, handler.open(photo.pixels()))
    ]
    assert (found[0] & found[1]).sum() / (found[0] | found[1]).sum() > 0.99


def test_bytes_of_any_kind_are_one_file() -> None:
    data = jpeg(smooth(40, 56))
    assert opened(bytearray(data)).key == opened(memoryview(data)).key == opened(data).key


@pytest.mark.parametrize(("source", "name"), [(io.BytesIO(), "BytesIO"), (None, "NoneType")])
def test_other_sources_are_refused(source: Any, name: str) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match=f"^The image is a {name}; give a path, bytes, a PIL image"):
        opened(source)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"no image")
    with pytest.raises(NotAnImage, match=r"a\.txt: "):
        opened(tmp_path / "a.txt")
