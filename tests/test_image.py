from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dataloaders.geometry import BoxXYXY, Crop, CropRule
from iog import image as photos
from iog.cache import ByteCache
from iog.decoding import decode
from iog.errors import NotAnImage, TooManyPixels
from iog.image import Photos, Pixels
from iog.settings import Settings
from model_handler import ModelHandler
from tests.builders import READABLE, saved

MEAN = CropRule(frame=32, margin_px=4, antialias=True)
SAMPLED = CropRule(frame=32, margin_px=4)
LIMIT = 10_000_000
ROOT = Path(__file__).parent.parent


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A picture that JPEG keeps almost as it is."""
    yy, xx = np.mgrid[:height, :width]
    waves = [np.sin(xx / 23 + k) * np.cos(yy / (17 + 3 * k)) for k in range(3)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:  # noqa: ANN401
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


def store(megabytes: float = 16) -> Photos:
    return Photos(ByteCache(int(megabytes * 2**20)), max_pixels=LIMIT)


@pytest.mark.parametrize("kind", READABLE)
def test_the_size_is_that_of_the_decoded_image(kind: str) -> None:
    data = READABLE[kind]()
    opened, again = store(), store()
    for photo in (opened.open(data, "k"), opened.open(data, "k"), again.open(data, "k")):
        assert photo.size == photo.pixels().shape[:2]
        np.testing.assert_array_equal(photo.pixels(), decode(data, max_pixels=LIMIT))
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
    box: BoxXYXY, block: int, orientation: int, width: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = store().open(jpeg(smooth(640, width), exif=exif), "k")
    crop = Crop.around(box, MEAN)
    assert crop.reduction == block
    difference = np.abs(photo.window(crop) - crop.extract(photo.pixels()))
    inside = difference[1:-1, 1:-1]  # beyond the image's last rows a block is no mean
    assert inside.max() <= 3
    assert difference.mean() <= 0.6


def test_a_jpeg_is_decoded_no_larger_than_the_crop_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("not to be called")

    photo = store().open(jpeg(smooth(640, 512)), "k")
    monkeypatch.setattr(photos, "decode", forbidden)
    photo.window(Crop.around((0, 0, 500, 600), MEAN))
    with pytest.raises(AssertionError):
        photo.window(Crop.around((0, 0, 40, 60), MEAN))


def test_a_rule_that_samples_gets_the_pixels_themselves() -> None:
    photo = store().open(jpeg(smooth(640, 512)), "k")
    crop = Crop.around((0, 0, 500, 600), SAMPLED)
    np.testing.assert_array_equal(photo.window(crop), crop.extract(photo.pixels()))


def test_a_window_does_not_depend_on_what_was_asked_before() -> None:
    data = jpeg(smooth(640, 512))
    crop = Crop.around((20, 30, 500, 600), MEAN)
    alone = store().open(data, "k").window(crop)
    photo = store().open(data, "k")
    photo.pixels()
    photo.window(Crop.around((20, 30, 200, 300), MEAN))
    np.testing.assert_array_equal(photo.window(crop), alone)


def test_files_that_are_no_jpeg_give_the_same_window_as_their_pixels() -> None:
    pixels = smooth(640, 509)
    photo = store().open(saved(Image.fromarray(pixels), "PNG"), "k")
    crop = Crop.around((20, 30, 500, 600), MEAN)
    np.testing.assert_array_equal(photo.window(crop), Pixels(pixels).window(crop))


def test_a_truncated_jpeg_is_repaired_as_ever() -> None:
    data = jpeg(smooth(640, 512))
    data = data[: len(data) * 4 // 5]
    photo = store().open(data, "k")
    crop = Crop.around((20, 30, 500, 600), MEAN)
    expected = crop.extract(decode(data, max_pixels=LIMIT))
    np.testing.assert_array_equal(photo.window(crop), expected)


def test_what_is_no_image_is_refused_when_opened_or_when_its_pixels_are_needed() -> None:
    with pytest.raises(NotAnImage):
        store().open(b"GIF89a", "k")
    with pytest.raises(TooManyPixels):
        store().open(saved(Image.new("L", (10_001, 1000)), "PNG"), "k")
    data = bytearray(saved(Image.new("L", (64, 64)), "BMP"))
    with pytest.raises(NotAnImage):
        store().open(bytes(data[:900]), "k").pixels()


def test_time_spent_on_the_file_is_told() -> None:
    photos = store()
    photo = photos.open(jpeg(smooth(640, 512)), "k")
    opened = photo.decode_ms
    photo.pixels()
    assert 0 < opened < photo.decode_ms
    assert photos.open(io.BytesIO(photo.data).getvalue(), "k").decode_ms == 0


@pytest.mark.parametrize(("side", "block"), [(1500, 2), (2600, 4)])
def test_masks_from_reduced_pixels_are_those_from_all_pixels(side: int, block: int) -> None:
    """With the bundled weights, on a photograph; the rounding to 8 bits alone changes as much."""
    with Image.open(ROOT / "examples" / "astronaut.jpg") as picture:
        large = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    handler = ModelHandler(Settings(threads=1, device="cpu"))
    photo = handler.open(saved(large, "JPEG", quality=90), "k")
    scale = side / 512
    box = (5 * scale, 4 * scale, 370 * scale, 512 * scale)
    assert Crop.around(box, handler.predictor.rule).reduction == block
    found = [
        handler.predict(
            image, boxes=[box], pos_points=[(190 * scale, 320 * scale)], neg_points=[]
        ).mask.astype(bool)
        for image in (photo, np.asarray(photo.pixels()))
    ]
    assert (found[0] & found[1]).sum() / (found[0] | found[1]).sum() > 0.99
