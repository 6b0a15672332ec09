"""How near masks stay to those of torch in fp32, to the truth, and to those from every pixel.

    python -m benchmarks.agreement masks:train_400.tar [--split val] [--model iog-lite] [--limit N]
    python -m benchmarks.agreement --reduced [--model iog-lite]

The simulated annotator draws the tight box, clicks inside and then on the largest error of torch's
fp32 mask. Every engine answers these same prompts, so that masks are compared and not the ways
that annotators would take from them.

With `--reduced`: the example photographs are enlarged and get grain. Random boxes on them, most
with no object in particular, are segmented from all pixels and from as many as the crop needs.
Such boxes are the hardest case: where a network has no object to hold on to, the last bit of a
pixel moves its mask.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import iog
from benchmarks.report import described
from dataloaders.geometry import Crop
from dataloaders.readers import open_dataset
from dataloaders.samples import Dataset, Sample
from iog.errors import SettingsError
from iog.evaluation.protocols import Step, annotate, first_prompt
from iog.evaluation.run import chosen, read_ahead
from iog.evaluation.scores import iou
from iog.evaluation.segmenters import Candidate, Segmenter, candidate
from iog.settings import Engine, Precision, Settings, available_cores
from iog.tables import Table

__all__ = ["Agreement", "compare", "main", "reduced", "table"]

_RUNS: tuple[tuple[Engine, Precision], ...] = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("torch", "bf16"),
)
_EXAMPLES = Path(__file__).parent.parent / "examples"
_SCALES = (3.0, 4.5, 7.0, 9.0)
_BOXES = 6
_GRAIN = 5.0


@dataclass
class Agreement:
    """What one engine's masks scored after the same number of clicks, object by object."""

    to_reference: list[float] = field(default_factory=list)
    """IoU to the reference's mask, all pixels counted."""
    to_truth: list[float] = field(default_factory=list)
    """IoU to the object, its void left out."""

    def add(self, mask: NDArray[np.bool_], reference: NDArray[np.bool_], sample: Sample) -> None:
        """Score one mask [H, W] of the image frame."""
        self.to_reference.append(iou(mask, reference, np.zeros_like(reference)))
        self.to_truth.append(iou(mask, sample.mask, sample.void))


Found = dict[str, list[Agreement]]
"""For each engine by name, the reference first: one agreement after each number of clicks."""


def compare(
    reference: Segmenter,
    others: dict[str, Segmenter],
    objects: Dataset,
    *,
    threshold: float,
    clicks: int = 2,
    limit: int | None = None,
) -> Found:
    """Let every engine answer the prompts that the reference's masks lead to.

    An object on which the reference leaves no error gets fewer clicks.

    Args:
        reference: whose masks are agreed with and corrected.
        others: by their names in tables.
        objects: the data set.
        threshold: probability above which a pixel is object.
        clicks: per object at most.
        limit: so many objects only, evenly spread.
    """
    found = {name: [Agreement() for _ in range(clicks)] for name in ("torch fp32", *others)}
    for _, sample in read_ahead(objects, chosen(len(objects), limit)):
        key = (sample.image_id, sample.object_index)
        course = annotate(reference, sample, first_prompt(sample), threshold=threshold)
        steps: list[Step] = list(islice(course, clicks))
        for number, step in enumerate(steps):
            found["torch fp32"][number].add(step.mask, step.mask, sample)
            for name, engine in others.items():
                answer = engine.predict(sample.image, step.prompt, image_key=key)
                found[name][number].add(answer > threshold, step.mask, sample)
    return found


def table(found: Found) -> Table:
    """A row for each engine and number of clicks."""
    rows = []
    truths = [float(np.mean(each.to_truth)) for each in next(iter(found.values()))]
    for name, agreements in found.items():
        for number, each in enumerate(agreements):
            truth = float(np.mean(each.to_truth))
            rows.append(
                (
                    name,
                    str(number + 1),
                    str(len(each.to_truth)),
                    f"{np.mean(each.to_reference):.5f}",
                    f"{np.min(each.to_reference):.4f}",
                    f"{truth:.4f}",
                    f"{100 * (truth - truths[number]):+.3f}",
                )
            )
    head = ("engine", "clicks", "objects", "IoU to torch", "least", "IoU to truth", "points")
    return Table("Mask IoU to torch fp32 and to the truth", head, tuple(rows))


def reduced(model: str) -> Table:
    """Mask IoU of boxes opened at a reduced size to the same ones opened whole.

    The table is empty for a model that samples its crop: nothing is opened at a reduced size.
    """
    predictor = iog.load(model)
    found: dict[int, list[float]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for path in sorted(_EXAMPLES.glob("*.jpg")):
        for scale in _SCALES:
            image = predictor.set_image(_enlarged(path, scale, rng))
            height, width = image.size
            for _ in range(_BOXES):
                w, h = rng.uniform(0.4, 1, 2)
                x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
                box = x * width, y * height, (x + w) * width, (y + h) * height
                reduction = Crop.around(box, predictor.rule).reduction
                if reduction > 1:
                    masks = []
                    for source in (image, image.pixels()):
                        predictor.set_image(source)
                        click = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                        masks.append(predictor.predict(box, [click]).array)
                    found[reduction].append(iou(masks[0], masks[1], np.zeros_like(masks[0])))
    rows = (
        (f"1/{by}", str(len(ious)), f"{np.mean(ious):.4f}", f"{min(ious):.4f}")
        for by, ious in sorted(found.items())
    )
    return Table("", ("read at", "boxes", "IoU, mean", "IoU, least"), tuple(rows))


def _enlarged(path: Path, scale: float, rng: np.random.Generator) -> bytes:
    with Image.open(path) as picture:
        size = round(picture.width * scale), round(picture.height * scale)
        large = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    noisy = np.clip(large + rng.normal(0, _GRAIN, (*large.shape[:2], 1)), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and print the table; of engines also hardware, commit and weights."""
    asked = _asked(arguments)
    if asked.reduced:
        print(reduced(asked.model or Settings.from_env().model).markdown())
        return
    settings = replace(Settings.from_env().with_model(asked.model), device="cpu")
    machine = described(cores=settings.threads or available_cores())
    reference = candidate(replace(settings, engine="torch", precision="fp32"))
    others: dict[str, Candidate] = {}
    for engine, precision in _RUNS:
        try:
            it = candidate(replace(settings, engine=engine, precision=precision))
        except SettingsError as error:
            print(f"Without {engine} {precision}: {error}")
            continue
        others[f"{engine} {precision}"] = it
    found = compare(
        reference.segmenter,
        {name: it.segmenter for name, it in others.items()},
        open_dataset(asked.data, split=asked.split),
        threshold=reference.threshold,
        limit=asked.limit,
    )
    weights = f"{reference.name}, SHA-256 {reference.description['sha256']}"
    for what, value in {**machine, "weights": weights, "split": asked.split}.items():
        print(f"{what}: {value}")
    print()
    print(table(found).markdown())


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement", description=(__doc__ or "").partition("\n")[0]
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("data", metavar="FORMAT:PATH", nargs="?", help="as of `iog evaluate --data`")
    data.add_argument(
        "--reduced", action="store_true", help="compare photographs opened at a reduced size"
    )
    parser.add_argument("--split", default="val", help="part of the data set [val]")
    parser.add_argument("--model", help="name or path of weights [IOG_MODEL]")
    parser.add_argument("--limit", type=int, help="so many objects only, evenly spread")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
