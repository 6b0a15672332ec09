"""From a box and clicks to a mask: crop, guidance, network, and back to the image.

This is the whole of IOG's interaction, free of requests and settings. The function, the command
line, CVAT's agent, evaluation and training's validation all go through it.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dataloaders.annotator import next_click
from dataloaders.geometry import Box, Crop, CropRule, Point, Size
from dataloaders.guidance import PixelXY, add_clicks, guidance_maps, most_interior_point
from iog.cache import Cache
from iog.engines.engine import Encoded, Engine, start_engine
from iog.errors import SettingsError, UnusableRequest
from iog.image import MAX_PIXELS, Image, ImageLike
from iog.masks import CocoRle, Mask, Masks
from iog.prompts import Prompt, clamped_box, one_box, ordered_boxes, prompts_for, split_clicks
from iog.settings import Device, Precision, available_cores, weights_dir_from_env
from iog.settings import Engine as EngineName

__all__ = ["MaskLike", "Predictor", "load"]

MaskLike = Mask | NDArray[Any] | CocoRle | Mapping[str, Any]
"""A mask, an array [H, W] that is not 0 on the object, or COCO's run lengths."""

CACHE_MB = 256
_POINT_BYTES = 256
"""About what a point and its key take."""
# The score is the mean over every pixel of a mask up to this size, and over every second, third,
# ... row of a larger one, which changes it in the fourth decimal.
_AVERAGED_PIXELS = 1 << 20
# Clicks that a mask from elsewhere may become, and the IoU at which it needs no more.
_MASK_CLICKS = 8
_MASK_IOU = 0.97


class Predictor(Generic[Encoded]):
    """One model, and the image it works on.

    With a click branch and a cache, further clicks on a box run only the decoder.

    Args:
        engine: runs the network; its ``spec`` says how the weights want their input.
        threshold: probability above which a pixel is object, unless a call says otherwise. Default:
            that of the weights.
        cache: keeps images, windows and encoded crops for the next click. Default: nothing is kept.
        max_pixels: most pixels that an image file may have.

    Attributes:
        timings: milliseconds that the last call spent on ``network`` (crop, guidance, network) and
            ``paste`` (back to the image). Reading the image is in ``Image.open_ms``.

    Raises:
        ValueError: the threshold is not above 0 and below 1.
    """

    def __init__(
        self,
        engine: Engine[Encoded],
        *,
        threshold: float | None = None,
        cache: Cache | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._engine = engine
        self._id = object()
        self._image: Image | None = None
        self._threshold = _checked(engine.spec.threshold if threshold is None else threshold)
        self.cache = Cache(0) if cache is None else cache
        self.max_pixels = max_pixels
        self.timings = {"network": 0.0, "paste": 0.0}

    def __repr__(self) -> str:
        """What runs here."""
        about = ", ".join(f"{name}={value!r}" for name, value in self.describe().items())
        return f"Predictor({about})"

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is object, unless a call says otherwise."""
        return self._threshold

    @property
    def rule(self) -> CropRule:
        """How the window and the guidance maps are made."""
        return self._engine.spec.crop

    def describe(self) -> dict[str, object]:
        """What runs here: model, architecture, engine, precision, device, threshold."""
        engine = self._engine
        return {
            "model": engine.spec.name,
            "architecture": engine.spec.architecture,
            "engine": engine.name,
            "precision": engine.precision,
            "device": engine.device,
            "threshold": self.threshold,
        }

    def set_image(self, image: ImageLike | Image) -> Image:
        """Choose the image that the next calls are about.

        Of a file only the header is read now; ``Image.size`` is known at once.

        Args:
            image: a path, the bytes of a file, a PIL image, uint8 RGB [H, W, 3], or an ``Image``.

        Raises:
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
            ValueError: an array is not uint8 [H, W, 3].
            TypeError: it is none of these.
            OSError: there is no file to read at the path.
        """
        if not isinstance(image, Image):
            image = Image(image, cache=self.cache, max_pixels=self.max_pixels)
        self._image = image
        return image

    def reset_image(self) -> None:
        """Let go of the image."""
        self._image = None

    @property
    def image(self) -> Image:
        """The image in work.

        Raises:
            RuntimeError: there is none yet.
        """
        if self._image is None:
            raise RuntimeError("There is no image yet: call set_image first.")
        return self._image

    def predict(
        self,
        box: ArrayLike | None = None,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        mask_input: MaskLike | None = None,
        *,
        threshold: float | None = None,
        largest: int | None = None,
        fill_holes: float | None = None,
    ) -> Mask:
        """Segment one object.

        The first click on the object is the inside point. Without one it is the box's centre. Where
        the mask that this gives is thin there, less than a quarter as thick as where it is
        thickest, its most interior pixel is taken instead, in a second pass. Background clicks
        correct the mask but do not move the point.

        ``mask_input``: a mask that this predictor made of this image remembers its box and clicks,
        not threshold and cleaning: your clicks continue them, and cost the decoder only. A new box
        drops clicks on the object that lie outside it. Open an array once as ``Image``, so that it
        is known again. Any other mask comes back as it is, unless you give a click or a box. Then
        the box (without yours) is its tight box, widened to your clicks on the object, and the
        inside point its most interior pixel. Some networks read the mask itself, as a third map
        beside the clicks. For the others it becomes up to 8 clicks where the prediction differs
        most from the mask.

        Args:
            box: x1, y1, x2, y2 in image pixels, two opposite corners; clamped to the image.
            point_coords: clicks [N, 2], x and y in image pixels; clamped to the image.
            point_labels: of each click 1 (object) or 0 (background). Default: all 1.
            mask_input: a mask to start from: a ``Mask``, an array [H, W], or COCO's run lengths.
            threshold: probability above which a pixel is object. Default: the model's.
            largest: keep so many of the largest components.
            fill_holes: fill holes of at most so many pixels.

        Raises:
            UnusableRequest: there is neither box nor mask, or the box has no area or lies outside
                the image.
            NotAnImage, TooManyPixels: see ``iog.decoding.read_pixels``.
            ValueError: an argument has not the shape or the range that is asked for.
            RuntimeError: there is no image yet.
        """
        image = self.image
        self.timings = {"network": 0.0, "paste": 0.0}
        positive, negative = split_clicks(point_coords, point_labels, image.size)
        threshold = self.threshold if threshold is None else _checked(threshold)
        wanted = None if box is None else clamped_box(one_box(box), None, image.size)
        if mask_input is not None:
            mask = self._known(mask_input, image)
            if mask.prompt is None and wanted is None and not (positive or negative):
                return mask.cleaned(largest=largest, fill_holes=fill_holes)
            prompt, start = self._prompt_from(mask, wanted)
            prompt = replace(
                prompt,
                box=prompt.box if wanted or start is None else _around(prompt.box, positive),
                pos_points=(*prompt.pos_points, *positive),
                neg_points=(*prompt.neg_points, *negative),
            )
        elif wanted is not None:
            prompt, start = Prompt(wanted, tuple(positive), tuple(negative)), None
        else:
            raise UnusableRequest(
                "missing_box",
                "There is no box around the object.",
                hint="Give a box, or a mask to start from.",
            )
        return self._mask(image, prompt, threshold, start, largest=largest, fill_holes=fill_holes)

    def predict_boxes(
        self,
        boxes: ArrayLike | Sequence[ArrayLike],
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        *,
        threshold: float | None = None,
        largest: int | None = None,
        fill_holes: float | None = None,
    ) -> Masks:
        """Segment the object in each box; every click goes to the box it lies in, or the nearest.

        Args:
            boxes: [N, 4], each x1, y1, x2, y2.
            point_coords, point_labels, threshold, largest, fill_holes: see ``predict``.

        Returns:
            One mask for each box, in order: a list.

        Raises:
            UnusableRequest: a box lies outside the image; nothing is predicted then.
            NotAnImage, TooManyPixels, ValueError, RuntimeError: see ``predict``.
        """
        image = self.image
        self.timings = {"network": 0.0, "paste": 0.0}
        threshold = self.threshold if threshold is None else _checked(threshold)
        positive, negative = split_clicks(point_coords, point_labels, image.size)
        return Masks(
            self._mask(image, prompt, threshold, largest=largest, fill_holes=fill_holes)
            for prompt in prompts_for(ordered_boxes(boxes), positive, negative, image.size)
        )

    def probability(self, prompt: Prompt) -> NDArray[np.float32]:
        """The probability behind a mask: float32 [H, W], image frame, 0 outside the crop.

        A bicubic resize may leave 0..1 slightly. The prompt is taken as it is, not clamped.
        """
        probability, crop, _ = self._probability(self.image, prompt)
        return crop.paste(probability, self.image.size)

    def _mask(
        self,
        image: Image,
        prompt: Prompt,
        threshold: float,
        start: Mask | None = None,
        *,
        largest: int | None,
        fill_holes: float | None,
    ) -> Mask:
        began, opened = time.perf_counter(), image.open_ms
        probability, crop, inside = self._probability(image, prompt, start)
        middle = time.perf_counter()
        mask = _pasted(probability, crop, image.size, threshold)
        if not prompt.pos_points:
            prompt = replace(prompt, pos_points=(_image_point(crop, inside),))
        mask = replace(mask, prompt=prompt, origin=(self._id, image.key), start=start)
        if largest is not None or fill_holes is not None:
            mask = mask.cleaned(largest=largest, fill_holes=fill_holes)
        self.timings["network"] += (middle - began) * 1e3 - (image.open_ms - opened)
        self.timings["paste"] += (time.perf_counter() - middle) * 1e3
        return mask

    def _probability(
        self, image: Image, prompt: Prompt, start: Mask | None = None
    ) -> tuple[NDArray[np.float32], Crop, PixelXY]:
        """Probability [S, S] in the network frame, its crop, and the inside point used."""
        crop = Crop.around(prompt.box, self.rule)
        inside = [crop.pixel(point) for point in prompt.pos_points]
        outside = [crop.pixel(point) for point in prompt.neg_points]
        previous = None if start is None else _cropped(start, crop)
        if inside:
            return self._run(image, crop, inside, outside, previous), crop, inside[0]
        x1, y1, x2, y2 = crop.box
        centre = crop.pixel(((x1 + x2) / 2, (y1 + y2) / 2))
        first: list[NDArray[np.float32]] = []

        def interior_point() -> PixelXY:
            first.append(self._run(image, crop, [centre], []))
            return most_interior_point(first[0] > self.threshold, unless=centre) or centre

        interior = self.cache.get_or_compute(
            "interior",
            (self._id, self.threshold, image.key, crop),
            interior_point,
            nbytes=lambda _: _POINT_BYTES,
        )
        if first and interior == centre and not outside and previous is None:
            return first[0], crop, centre
        return self._run(image, crop, [interior], outside, previous), crop, interior

    def _run(
        self,
        image: Image,
        crop: Crop,
        inside: Sequence[PixelXY],
        outside: Sequence[PixelXY],
        previous: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """One pass: network-frame clicks, and a mask to correct, in; probability [S, S] out."""
        rule = self.rule
        corners = crop.outside_points()
        key: tuple[Hashable, ...]
        if self._engine.has_click_branch:
            first, later = inside[:1], (inside[1:], outside)
            key = (self._id, image.key, crop, tuple(first))
            maps = guidance_maps(first, corners, input_size=rule.input_size, fwhm=rule.fwhm)
            clicks = add_clicks(maps, *later, fwhm=rule.fwhm)
        else:
            key = (self._id, image.key, crop, (*inside, *outside), len(inside))
            background = (*corners, *outside)
            maps = guidance_maps(inside, background, input_size=rule.input_size, fwhm=rule.fwhm)
            clicks = maps

        def encode() -> Encoded:
            # The window is all that a network ever sees of the image.
            window = self.cache.get_or_compute(
                "window", (image.key, crop), lambda: image.window(crop), nbytes=lambda w: w.nbytes
            )
            return self._engine.encode(np.concatenate([window.transpose(2, 0, 1), maps]))

        encoded = self.cache.get_or_compute("crop", key, encode, nbytes=self._engine.nbytes)
        if self._engine.click_maps == 2:
            return self._engine.decode(encoded, clicks)
        if previous is None:
            # Corrections start from the mask of the first click, so their order does not count.
            previous = self.cache.get_or_compute(
                "first",
                key,
                lambda: self._engine.decode(encoded, _with_mask(maps, None)),
                nbytes=lambda mask: mask.nbytes,
            )
            if not inside[1:] and not outside:
                return previous
        return self._engine.decode(encoded, _with_mask(clicks, previous))

    def _known(self, mask_input: MaskLike, image: Image) -> Mask:
        """The mask to start from; its prompt is None unless it is this predictor's own."""
        mask = _as_mask(mask_input)
        if mask.prompt is not None and mask.origin == (self._id, image.key):
            return mask
        if mask.size != image.size:
            raise ValueError(f"The mask is {mask.size}, the image {image.size} (height, width).")
        if mask.box is None:
            raise ValueError("The mask is empty.")
        return replace(mask, prompt=None, origin=None, start=None)

    def _prompt_from(self, mask: Mask, box: Box | None) -> tuple[Prompt, Mask | None]:
        """The prompt that gave a mask, or one to correct it with, and then the mask."""
        if mask.prompt is not None:
            return mask.prompt if box is None else mask.prompt.moved(box), mask.start
        image = self.image
        assert mask.box is not None
        x0, y0, x1, y1 = mask.box
        crop = Crop.around(box or (x0, y0, x1, y1), self.rule)
        wanted = _cropped(mask, crop) >= 0.5
        left, top, right, bottom = crop.box
        centre = crop.pixel(((left + right) / 2, (top + bottom) / 2))
        inside, outside = [most_interior_point(wanted) or centre], list[PixelXY]()
        if self._engine.click_maps == 3:
            return Prompt(box or (x0, y0, x1, y1), (_image_point(crop, inside[0]),)), mask
        best, best_iou = (tuple(inside), tuple(outside)), -1.0
        for _ in range(_MASK_CLICKS + 1):
            found = self._run(image, crop, inside, outside) > self.threshold
            iou = int((found & wanted).sum()) / max(int((found | wanted).sum()), 1)
            if iou > best_iou:
                best, best_iou = (tuple(inside), tuple(outside)), iou
            click = next_click(found, wanted)
            if click is None or iou >= _MASK_IOU:
                break
            (inside if click.positive else outside).append(click.xy)
        positive, negative = (tuple(_image_point(crop, p) for p in points) for points in best)
        return Prompt(box or (x0, y0, x1, y1), positive, negative), None


def load(
    model: str | Path = "iog-lite",
    *,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    weights_dir: str | Path | None = None,
    sha256: str | None = None,
    cache_mb: int = CACHE_MB,
    max_pixels: int = MAX_PIXELS,
) -> Predictor[Any]:
    """Load a model.

    Args:
        model: a name from ``iog weights list``, or the path of a checkpoint or published file.
        engine: ``auto`` (OpenVINO on the CPU where it is installed and the model was exported, else
            torch), ``torch`` or ``openvino``.
        precision: ``fp32``, ``bf16`` or, on CUDA, ``fp16``.
        device: ``auto`` (a GPU when there is one), ``cpu`` or ``cuda``.
        threads: CPU threads. Default: the cores that the process may use. ``iog-lite`` on torch
            uses one. torch has one number for all networks of the process.
        threshold: probability above which a pixel is object. Default: the model's.
        weights_dir: where fetched weights are. Default: ``IOG_WEIGHTS_DIR``, or ``~/.cache/iog``.
        sha256: refuse any weights but those with this digest.
        cache_mb: mebibytes kept for the next click; 0 keeps nothing.
        max_pixels: most pixels (width times height) that an image file may have.

    Raises:
        SettingsError: the engine, device or precision is unknown or not to be had here, or
            ``threads`` or ``cache_mb`` is too small.
        ValueError: the threshold is not above 0 and below 1.
        WeightsError: the weights are missing or unusable.
    """
    if threads is not None and threads < 1:
        raise SettingsError(f"threads is {threads}; it must be None, or 1 or more.")
    if cache_mb < 0:
        raise SettingsError(f"cache_mb is {cache_mb}; it must be 0 or more.")
    if threshold is not None:
        _checked(threshold)
    folder = weights_dir_from_env() if weights_dir is None else Path(weights_dir)
    started = start_engine(
        str(model),
        weights_dir=folder,
        sha256=sha256,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads or available_cores(),
    )
    cache = Cache(cache_mb * 2**20)
    return Predictor(started, threshold=threshold, cache=cache, max_pixels=max_pixels)


def _cropped(mask: Mask, crop: Crop) -> NDArray[np.float32]:
    """A mask in the network frame: [S, S], 0..1."""
    return crop.extract(mask.array.view(np.uint8))


def _around(box: Box, points: Sequence[Point]) -> Box:
    """The box, widened to hold the points."""
    corners = (box[:2], box[2:], *points)
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _with_mask(
    clicks: NDArray[np.float32], previous: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Maps of clicks [2, S, S] and, as the third, a mask in 0..1, all in 0..255."""
    mask = np.zeros_like(clicks[0]) if previous is None else previous * np.float32(255)
    return np.concatenate([clicks, mask[None]])


def _checked(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must be above 0 and below 1.")
    return threshold


def _pasted(probability: NDArray[np.float32], crop: Crop, size: Size, threshold: float) -> Mask:
    """The pixels above the threshold, at the resolution of the image."""
    strips: list[NDArray[np.uint8]] = []
    total, count = 0.0, 0
    for values, _ in crop.paste_strips(probability, size):
        drawn = (values > threshold).view(np.uint8)
        area = cv2.countNonZero(drawn)
        if area:
            total += area * _mean(values, drawn, area)
            count += area
        strips.append(drawn)
    if not count:
        return Mask.of_region(np.zeros((1, 1), np.uint8), (0, 0), size)
    pixels = strips[0] if len(strips) == 1 else np.concatenate(strips)
    left, top, _, _ = crop.visible(size)
    return Mask.of_region(pixels, (left, top), size, score=total / count, area=count)


def _mean(values: NDArray[np.float32], drawn: NDArray[np.uint8], area: int) -> float:
    """Mean over the ``area`` pixels of ``drawn``, or over some of their rows.

    A mask of several million pixels has some in many rows, for no row is longer than 65,535.
    """
    step = max(1, area // _AVERAGED_PIXELS)
    rows = np.minimum(values[::step], np.float32(1))  # a bicubic resize may pass 1
    return float(cv2.mean(rows, mask=np.ascontiguousarray(drawn[::step]))[0])


def _as_mask(mask: MaskLike) -> Mask:
    if isinstance(mask, Mask):
        return mask
    return Mask.from_rle(mask) if isinstance(mask, Mapping) else Mask.from_array(mask)


def _image_point(crop: Crop, pixel: PixelXY) -> Point:
    """The centre of a network pixel, image frame; ``crop.pixel`` brings it back."""
    return crop.to_image((pixel[0] + 0.5, pixel[1] + 0.5))
