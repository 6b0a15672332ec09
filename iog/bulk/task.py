"""`MaskTask`: what a worker does with an image and its boxes, wherever the worker runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataloaders.geometry import Box, Size
from iog.bulk.records import NO_OBJECT, BoxedImage, Click, Failure, ImageOutcome, MaskRow, Outcome
from iog.errors import RequestError
from iog.image import MAX_PIXELS, Image
from iog.settings import Device, Engine, Precision, weights_dir_from_env

if TYPE_CHECKING:
    from iog.predictor import Predictor

__all__ = ["MaskTask", "other_size"]

# What the two passes on a box share, and nothing of the images before.
_CACHE_MB = 16


class MaskTask:
    """Maps images with boxes to masks.

    It can be pickled, and loads the model when it first needs it. A box without points gets the
    mask of ``Predictor.predict(box=...)``, bit for bit: one pass with the box's centre, and one
    with the most interior pixel of what that gives.

    Args:
        model: a name from ``iog weights list``, or a path.
        engine, precision, device, threads, threshold, weights_dir, sha256, max_pixels: see
            ``iog.load``.
    """

    def __init__(
        self,
        model: str | Path = "iog-lite",
        *,
        engine: Engine = "auto",
        precision: Precision = "fp32",
        device: Device = "auto",
        threads: int | None = None,
        threshold: float | None = None,
        weights_dir: Path | None = None,
        sha256: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._model = model
        self._options: dict[str, Any] = {
            "engine": engine,
            "precision": precision,
            "device": device,
            "threads": threads,
            "threshold": threshold,
            "weights_dir": weights_dir,
            "sha256": sha256,
            "max_pixels": max_pixels,
        }
        self._predictor: Predictor[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the loaded model."""
        return {**vars(self), "_predictor": None}

    def describe(self) -> dict[str, str]:
        """What the masks depend on, beside images and boxes, for the journal.

        Raises:
            WeightsError: the weights are missing, or not those that are asked for.
        """
        from iog.models.files import sha256_of
        from iog.models.spec import resolve

        options = self._options
        folder = options["weights_dir"] or weights_dir_from_env()
        spec = resolve(str(self._model), weights_dir=folder)
        threshold = options["threshold"]
        return {
            "model": str(self._model),
            "weights sha256": sha256_of(spec.file),
            "engine": options["engine"],
            "precision": options["precision"],
            "device": options["device"],
            "threshold": "the model's" if threshold is None else str(threshold),
        }

    def load(self) -> Predictor[Any]:
        """The model, loaded now if need be.

        Raises:
            SettingsError, WeightsError, ValueError: see ``iog.load``.
        """
        if self._predictor is None:
            from iog.predictor import load

            self._predictor = load(self._model, cache_mb=_CACHE_MB, **self._options)
        return self._predictor

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Map a batch of images, given as columns, as ``map_batches`` of Ray Data does.

        Args:
            batch: ``image``: paths, bytes of files, what gets such bytes, PIL images or uint8 RGB
                [H, W, 3]. ``boxes``: of each image [N, 4], x1, y1, x2, y2. ``points``, which may be
                missing: of each image N lists of clicks, each x, y and 1 (object) or 0. ``size``,
                which may be missing: the height and width that the boxes are meant for, or ``[]``.

        Returns:
            The other columns as they were, and ``masks``: of each image a list with, for each box,
            ``size`` [H, W], ``counts`` (COCO's run lengths), ``bbox`` (tight x1, y1, x2, y2),
            ``area`` and ``score``; or ``error``, a sentence.
        """
        images, boxes = batch["image"], batch["boxes"]
        points = batch.get("points", [None] * len(images))
        sizes = batch.get("size", [()] * len(images))
        kept = {
            name: list(column)
            for name, column in batch.items()
            if name not in ("image", "boxes", "points", "size")
        }
        rows = [
            [_as_row(outcome) for outcome in self._outcomes(*one, size=_size(size))]
            for *one, size in zip(images, boxes, points, sizes, strict=True)
        ]
        return {**kept, "masks": rows}

    def outcome(self, image: BoxedImage) -> ImageOutcome:
        """What becomes of one image; whatever is wrong with it is in there.

        Raises:
            SettingsError, WeightsError, ValueError: the model cannot be loaded; see ``iog.load``.
        """
        boxes = [each.box for each in image.objects]
        points = [each.points for each in image.objects]
        found = self._outcomes(image.image, boxes, points, size=image.size)
        numbers = (each.number for each in image.objects)
        return ImageOutcome(image, tuple(zip(numbers, found, strict=True)))

    def _outcomes(
        self,
        source: Any,  # noqa: ANN401 - a column's value
        boxes: Sequence[Box],
        points: Sequence[Sequence[Click]] | None,
        *,
        size: Size | None = None,
    ) -> list[Outcome]:
        """One outcome for each box, in order."""
        predictor = self.load()
        try:
            image = Image(source() if callable(source) else source, max_pixels=predictor.max_pixels)
        except (OSError, RequestError, ValueError, TypeError, MemoryError) as error:
            return [Failure(_sentence(error))] * len(boxes)
        if size is not None and image.size != size:
            return [other_size(image.size, size)] * len(boxes)
        clicks = [()] * len(boxes) if points is None or not len(points) else points
        return [_outcome(predictor, image, *one) for one in zip(boxes, clicks, strict=True)]


def _outcome(predictor: Predictor[Any], image: Image, box: Box, clicks: Sequence[Click]) -> Outcome:
    predictor.set_image(image)
    try:
        mask = predictor.predict(
            box, [click[:2] for click in clicks], [int(click[2]) for click in clicks]
        )
    except (OSError, RequestError, ValueError, MemoryError) as error:
        return Failure(_sentence(error))
    return MaskRow.of(mask) if mask.area else Failure(NO_OBJECT)


def _size(values: Sequence[int]) -> Size | None:
    """A value of the column ``size``."""
    return (int(values[0]), int(values[1])) if len(values) else None


def _as_row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a value of the column ``masks``."""
    if isinstance(outcome, Failure):
        return {"error": outcome.reason}
    return {
        "size": list(outcome.size),
        "counts": outcome.counts,
        "bbox": list(outcome.box),
        "area": outcome.area,
        "score": outcome.score,
    }


def other_size(found: Size, wanted: Size) -> Failure:
    """The failure of an image whose boxes are meant for another size."""
    return Failure(
        f"The image is {found[1]} x {found[0]} pixels, but its boxes are meant for "
        f"{wanted[1]} x {wanted[0]}."
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, RequestError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, MemoryError):
        return "The image needs more memory than there is."
    return str(error)
