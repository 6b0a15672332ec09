"""Reading the files of a data set: whatever is missing or broken becomes one sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dataloaders import DatasetError

_GONE = "it was there when the data set was opened"


def require(path: Path, *, advice: str) -> Path:
    """The path of an existing file.

    Raises:
        DatasetError: there is none; the sentence ends in ``advice``.
    """
    if path.is_file():
        return path
    raise DatasetError(f"{path} is missing; {advice}")


def read_names(path: Path, *, advice: str) -> list[str]:
    """The lines of a list of photographs, without empty ones."""
    text = require(path, advice=advice).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def decode_image(data: bytes, flags: int, name: str) -> NDArray[np.uint8]:
    """An encoded image as OpenCV reads it with ``flags``; ``name`` is for the error's sentence."""
    # OpenCV raises an error of its own for an empty buffer.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise DatasetError(f"{name} is not a readable image; restore it from the data set")
    return image.astype(np.uint8, copy=False)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """A photograph, upright: uint8 [H, W, 3], RGB."""
    data = require(path, advice=_GONE).read_bytes()
    return decode_image(data, cv2.IMREAD_COLOR_RGB, str(path))


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The values of a greyscale or palette PNG as stored: uint8 [H, W].

    OpenCV would turn a palette into colours, and colours into grey.
    """
    image = _open(path)
    if image.mode not in ("P", "L"):
        raise DatasetError(f"{path} holds colours instead of numbers (mode {image.mode})")
    return np.array(image, np.uint8)


def read_labels(path: Path) -> NDArray[np.int32]:
    """A label PNG as int32 [H, W]: colours as 0xRRGGBB, the values of a greyscale file as stored.

    Greyscale values are told from colours by being negative: value v is ``-1 - v``.
    """
    image = _open(path)
    if image.mode == "L":
        return -1 - np.array(image, np.int32)
    rgb = np.array(image.convert("RGB"), np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def check_size(name: str | Path, image: NDArray[np.uint8], size: tuple[int, ...]) -> None:
    """Raise DatasetError when a photograph and its mask, of size [H, W], do not fit."""
    if image.shape[:2] != size:
        (height, width), (rows, columns) = image.shape[:2], size
        raise DatasetError(
            f"{name} has {width} x {height} pixels, but its mask {columns} x {rows}; "
            "they belong to different versions of the data set"
        )


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(require(path, advice=_GONE)) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(
            f"{path} is not a readable image; restore it from the data set"
        ) from error
