"""Memory of `iog masks` over a COCO file of a million boxes.

    python -m benchmarks.bulk_memory --plot docs/images/bulk-memory.png

The workers load the model, so that its memory counts, but a stand-in answers at once with the same
mask for every box: this measures memory, not speed. Images are never opened.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import described
from iog.bulk.coco import CocoBoxes
from iog.bulk.journal import Journal
from iog.bulk.local import LocalMapper
from iog.bulk.records import BoxedImage, ImageOutcome, MaskRow
from iog.bulk.run import make_masks
from iog.bulk.task import MaskTask
from iog.masks import Mask

SIZE = (480, 640)
BOXES_PER_IMAGE = 8
_SAMPLE_SECONDS = 0.25


class StandIn(MaskTask):
    """Loads the model and answers without it: a disc for each object."""

    def outcome(self, image: BoxedImage) -> ImageOutcome:
        """The same mask for every box."""
        row = _disc()
        return ImageOutcome(image, tuple((each.number, row) for each in image.objects))


def _disc() -> MaskRow:
    y, x = np.mgrid[-40:41, -40:41]
    pixels = (x * x + y * y <= 1600).astype(np.uint8)
    return MaskRow.of(Mask.of_region(pixels, (200, 100), SIZE, score=0.9))


def write_boxes(path: Path, count: int) -> None:
    """A COCO file of so many boxes, eight an image, in an order that is not the images'."""
    images = -(-count // BOXES_PER_IMAGE)
    owners = list(range(images)) * BOXES_PER_IMAGE
    random.Random(0).shuffle(owners)
    with path.open("w") as file:
        file.write('{"images": [')
        for number in range(images):
            entry = {"id": number, "file_name": f"{number:09}.jpg", "height": 480, "width": 640}
            file.write((", " if number else "") + json.dumps(entry))
        file.write('],\n"categories": [{"id": 1, "name": "thing"}],\n"annotations": [')
        for number, image in enumerate(owners[:count]):
            box = [number % 500 + 0.5, number % 300 + 0.25, 81.75, 81.5]
            entry = {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "attributes": {"occluded": False, "source": "detector"},
            }
            file.write((",\n" if number else "") + json.dumps(entry))
        file.write("]}")


class Watch:
    """Samples the memory of this process and its workers, with what is going on."""

    def __init__(self) -> None:
        self.stage = "start"
        self.rows: list[tuple[float, str, float]] = []
        """Seconds, stage, MB of resident memory."""
        self._end = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)
        self._start = time.monotonic()
        self._thread.start()

    def enter(self, stage: str) -> None:
        """Begin a stage with a sample, as it may end before the next one is due."""
        self.stage = stage
        self._sample()

    def _sample_on(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        me = psutil.Process()
        with self._one_at_a_time:
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it has just ended
                    continue
            self.rows.append((time.monotonic() - self._start, self.stage, total / 1e6))

    def stop(self) -> None:
        """Sample no more."""
        self._end.set()
        self._thread.join()


def measure(folder: Path, count: int, workers: int) -> Watch:
    """Make the masks of so many boxes under watch."""
    write_boxes(folder / "boxes.json", count)
    watch = Watch()
    watch.enter("index")
    boxes = CocoBoxes(folder / "boxes.json", folder, folder / "masks.json")
    task = StandIn(threads=1)
    watch.enter("masks")
    with (
        closing(Journal(folder / "masks.json.journal", boxes.describe())) as journal,
        closing(LocalMapper(task, workers)) as mapper,
    ):

        class Sink:
            """Tells the stage on the way."""

            def write(self, outcomes: Any) -> None:  # noqa: ANN401
                watch.enter("output")
                boxes.write(outcomes)

        done = make_masks(boxes, Sink(), mapper, journal, done=lambda _: None)
    watch.stop()
    if (done.made, done.failed) != (count, 0):
        raise SystemExit(f"{done} instead of {count} masks.")
    return watch


def main() -> None:
    """Measure, print, and plot; see --help."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk_memory", description=__doc__)
    parser.add_argument("--boxes", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    for what, value in described(cores=options.workers).items():
        print(f"{what}: {value}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watch = measure(folder, options.boxes, options.workers)
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(folder.iterdir())}
    for file, size in sizes.items():
        print(f"{file}: {size:.0f} MB")
    for stage in dict.fromkeys(stage for _, stage, _ in watch.rows):
        rows = [(seconds, size) for seconds, name, size in watch.rows if name == stage]
        took = rows[-1][0] - rows[0][0]
        print(f"{stage}: {took:.0f} s, at most {max(size for _, size in rows):.0f} MB")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    print(f"process {os.getpid()} alone, at most: {own / 1e6:.0f} MB")
    if options.plot:
        _plot(watch, options.boxes, options.workers, options.plot)


def _plot(watch: Watch, count: int, workers: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for stage in dict.fromkeys(stage for _, stage, _ in watch.rows):
        rows = [(seconds, size) for seconds, name, size in watch.rows if name == stage]
        axes.plot(*zip(*rows, strict=True), label=stage)
    axes.set(
        xlabel="seconds, with a stand-in that answers at once",
        ylabel=f"MB resident, host and {workers} workers",
        title=f"iog masks over {count:,} boxes",
        ylim=(0, None),
    )
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
