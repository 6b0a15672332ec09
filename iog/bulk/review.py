"""`iog masks --review DIR`: contact sheets of the masks, lowest score first, for any browser.

The folder needs no server and holds all it shows, so that it can be sent to somebody.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dataloaders.geometry import Box, Region, Size, clamp_box
from iog.bulk.files import atomic_output
from iog.bulk.records import BoxedImage, BoxedObject, Failure, MaskRow, Outcome, Outcomes, Source
from iog.errors import RequestError, SettingsError
from iog.image import MAX_PIXELS, Image
from iog.overlay import draw
from iog.settings import available_cores

__all__ = ["MOST_OBJECTS", "check_folder", "write_review"]

MOST_OBJECTS: Final = 5_000
"""Shown at most: the ones with the lowest scores."""
_CROP_SIDE: Final = 240
_IMAGE_SIDE: Final = 1280
# Around the box and the mask, of their longer side.
_MARGIN: Final = 0.15
_QUALITY: Final = (cv2.IMWRITE_JPEG_QUALITY, 82)
_DATA: Final = "objects.js"
_PAGE: Final = "index.html"
_FOLDERS: Final = ("crops", "images")


@dataclass(frozen=True)
class _Drawn:
    """An image that is in the folder, and the page's entries of its objects."""

    entry: dict[str, Any]
    objects: list[dict[str, Any]]


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than an earlier review.

    Raises:
        SettingsError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file: --review needs a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _DATA).is_file():
        raise SettingsError(f"{folder} holds other files: give --review an empty folder.")


def write_review(
    folder: Path,
    source: Source,
    outcomes: Outcomes,
    *,
    most: int = MOST_OBJECTS,
    max_pixels: int = MAX_PIXELS,
) -> Path:
    """Write the pages of a finished run.

    Args:
        folder: where; an earlier review there is replaced.
        source: what the run read; images that it lists no more are left out.
        outcomes: of the run.
        most: objects to show. What failed comes first, then the lowest scores.
        max_pixels: of an image.

    Returns:
        The page to open.

    Raises:
        SettingsError: the folder holds other files.
        OSError: it cannot be written.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DATA).touch()  # it is a review from here on, also if this is broken off
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    totals = {"made": 0, "failed": 0}
    shown = dict(heapq.nsmallest(most, _counted(outcomes, totals), key=_rank))
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for drawn in _all_drawn(folder, source, shown, max_pixels):
        objects.extend({**each, "image": len(images)} for each in drawn.objects)
        images.append(drawn.entry)
    objects.sort(key=lambda each: (each["score"] is not None, each["score"], each["number"]))
    data = {**totals, "images": images, "objects": objects}
    with atomic_output(folder / _DATA) as file:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
        file.write(f"const REVIEW = {text};\n".encode())
    page = folder / _PAGE
    page.write_bytes(files("iog.bulk").joinpath("static", "review.html").read_bytes())
    return page


def _counted(outcomes: Outcomes, totals: dict[str, int]) -> Iterator[tuple[int, Outcome]]:
    for number, outcome in outcomes:
        totals["failed" if isinstance(outcome, Failure) else "made"] += 1
        yield number, outcome


def _rank(item: tuple[int, Outcome]) -> tuple[float, int]:
    number, outcome = item
    return (-1.0 if isinstance(outcome, Failure) else outcome.score), number


def _all_drawn(
    folder: Path, source: Source, shown: dict[int, Outcome], max_pixels: int
) -> Iterator[_Drawn]:
    """The images that have objects to show, in the source's order; a few are drawn at a time."""
    running: deque[Future[_Drawn]] = deque()
    cores = available_cores()
    with ThreadPoolExecutor(cores) as pool:
        for number, image in enumerate(_with_objects(source, shown)):
            outcomes = [shown[each.number] for each in image.objects]
            running.append(
                pool.submit(_drawn, folder, number, image, outcomes, max_pixels=max_pixels)
            )
            if len(running) > 2 * cores:
                yield running.popleft().result()
        yield from (future.result() for future in running)


def _with_objects(source: Source, shown: dict[int, Outcome]) -> Iterator[BoxedImage]:
    for image in source.images():
        objects = tuple(each for each in image.objects if each.number in shown)
        if objects:
            yield BoxedImage(image.number, image.name, image.image, objects, image.size)


def _drawn(
    folder: Path, number: int, image: BoxedImage, outcomes: Sequence[Outcome], *, max_pixels: int
) -> _Drawn:
    """Put an image and the crops of its objects into the folder."""
    entry: dict[str, Any] = {"name": image.name}
    pixels = _pixels(image, max_pixels)
    if pixels is not None:
        height, width = pixels.shape[:2]
        entry |= {"file": f"images/{number}.jpg", "width": width, "height": height}
        _save(folder / entry["file"], _reduced(pixels, _IMAGE_SIDE))
    objects = [
        _entry(folder, each, outcome, pixels)
        for each, outcome in zip(image.objects, outcomes, strict=True)
    ]
    return _Drawn(entry, objects)


def _pixels(image: BoxedImage, max_pixels: int) -> NDArray[np.uint8] | None:
    """uint8 [H, W, 3], RGB, or nothing if the image cannot be read."""
    try:
        file = image.image() if callable(image.image) else image.image
        return Image(file, max_pixels=max_pixels).pixels()
    except (OSError, RequestError, ValueError, MemoryError):
        return None


def _entry(
    folder: Path, each: BoxedObject, outcome: Outcome, pixels: NDArray[np.uint8] | None
) -> dict[str, Any]:
    """What the page knows of an object, with its crop in the folder."""
    entry: dict[str, Any] = {
        "number": each.number,
        "name": each.name,
        "label": each.label,
        "box": [round(value, 1) for value in each.box],
        "score": None,
    }
    if isinstance(outcome, Failure):
        entry["reason"] = outcome.reason
    else:
        entry |= {"score": round(outcome.score, 4), "area": outcome.area, "path": _path(outcome)}
    window = None if pixels is None else _window(each.box, outcome, pixels.shape[:2])
    if pixels is not None and window is not None:
        entry |= {"crop": f"crops/{each.number}.jpg", "window": window}
        _save(folder / entry["crop"], _crop(pixels, window, each, outcome))
    return entry


def _path(row: MaskRow) -> str:
    """The outlines of a mask as the `d` of an SVG path, image frame."""
    polygons = row.mask().polygon(tolerance=1.0)
    rings = chain.from_iterable([each["exterior"], *each["holes"]] for each in polygons)
    return "".join("M" + " ".join(f"{x},{y}" for x, y in ring) + "Z" for ring in rings)


def _window(box: Box, outcome: Outcome, size: Sequence[int]) -> Region | None:
    """The part of the image around the box and the mask; nothing if both lie outside."""
    x1, y1, x2, y2 = min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1::2])
    if isinstance(outcome, MaskRow):
        left, top, right, bottom = outcome.box
        x1, y1, x2, y2 = min(x1, left), min(y1, top), max(x2, right), max(y2, bottom)
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    frame: Size = (size[0], size[1])
    try:
        inside = clamp_box((x1 - margin, y1 - margin, x2 + margin, y2 + margin), frame)
    except ValueError:
        return None
    if inside is None:
        return None
    left, top = int(inside[0]), int(inside[1])
    return left, top, max(int(np.ceil(inside[2])), left + 1), max(int(np.ceil(inside[3])), top + 1)


def _crop(
    pixels: NDArray[np.uint8], window: Region, each: BoxedObject, outcome: Outcome
) -> NDArray[np.uint8]:
    """The window with mask, box and clicks drawn, at the page's size; uint8 [h, w, 3], RGB."""
    left, top, right, bottom = window
    part = _reduced(pixels[top:bottom, left:right], _CROP_SIDE)
    height, width = part.shape[:2]
    across, down = width / (right - left), height / (bottom - top)
    mask = np.zeros((height, width), np.uint8)
    if isinstance(outcome, MaskRow):
        whole = outcome.mask().array[top:bottom, left:right].astype(np.uint8)
        fractions = cv2.resize(whole * 255, (width, height), interpolation=cv2.INTER_AREA)
        mask = (np.asarray(fractions) > 127).astype(np.uint8)

    def moved(x: float, y: float) -> tuple[float, float]:
        return (x - left) * across, (y - top) * down

    return draw(
        part,
        mask,
        boxes=[(*moved(*each.box[:2]), *moved(*each.box[2:]))],
        pos_points=[moved(x, y) for x, y, label in each.points if label],
        neg_points=[moved(x, y) for x, y, label in each.points if not label],
    )


def _reduced(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The same picture with at most so many pixels on its longer side."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _QUALITY)
    if not done:
        raise OSError(f"{path}: the picture cannot be written.")
    path.write_bytes(data.tobytes())
