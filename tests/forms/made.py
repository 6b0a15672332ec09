"""Masks without a network: the ellipse in each box."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from dataloaders.geometry import Box, Size
from iog.bulk.records import BoxedObject, Failure, MaskRow, Outcome, Sink, Source
from iog.image import Image
from iog.masks import Mask


class Made:
    """Outcomes, as a journal has them."""

    def __init__(self, found: dict[int, Outcome]) -> None:
        self._found = found

    def get(self, number: int) -> Outcome | None:
        return self._found.get(number)

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        return iter(sorted(self._found.items()))


def ellipse(box: Box, size: Size) -> MaskRow:
    x1, y1, x2, y2 = box
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25
    return MaskRow.of(Mask.from_array(inside))


def two_parts(box: Box, size: Size) -> MaskRow:
    """The left and the right third of a box, the left one with a hole."""
    array = np.zeros(size, bool)
    x1, y1, x2, y2 = (round(each) for each in box)
    third = (x2 - x1) // 3
    array[y1:y2, x1 : x1 + third] = array[y1:y2, x2 - third : x2] = True
    array[y1 + 2 : y1 + 4, x1 + 2 : x1 + 4] = False
    return MaskRow.of(Mask.from_array(array))


def make(
    source: Source,
    sink: Sink,
    *,
    shape: Callable[[Box, Size], MaskRow] = ellipse,
    failing: tuple[str, ...] = (),
) -> dict[str, BoxedObject]:
    """What `iog masks` does, without a network; returns objects by `image: object`."""
    return made(source, sink, shape=shape, failing=failing)[0]


def made(
    source: Source,
    sink: Sink,
    *,
    shape: Callable[[Box, Size], MaskRow] = ellipse,
    failing: tuple[str, ...] = (),
) -> tuple[dict[str, BoxedObject], str]:
    """The same, with the sentence that tells what the output lacks."""
    found: dict[int, Outcome] = {}
    seen = {}
    numbers = set()
    for image in source.images():
        assert image.number not in numbers
        numbers.add(image.number)
        file = image.image
        if any(not each.problem for each in image.objects):
            size = Image(file() if callable(file) else file).size
            assert image.size in (None, size)
        for each in image.objects:
            assert each.number not in found
            seen[f"{image.name}: {each.name}"] = each
            failed = each.problem or each.label in failing
            found[each.number] = Failure(each.problem or "No.") if failed else shape(each.box, size)
    assert source.count() == len(found)
    return seen, sink.write(Made(found)) or ""


def picture(size: Size = (48, 64), form: str = "PNG") -> bytes:
    file = io.BytesIO()
    array: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    Pillow.fromarray(array).save(file, form)
    return file.getvalue()


def lay(root: Path, files: dict[str, bytes], *, archive: bool) -> Path:
    """Files in a folder or in a zip archive."""
    if archive:
        path = root.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read_back(path: Path) -> dict[str, bytes]:
    """The files of an output."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    found = (each for each in path.rglob("*") if each.is_file())
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in found}
