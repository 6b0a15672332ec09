"""Masks in FiftyOne, made by FiftyOne itself; skipped where it is missing.

To run it, make the environment of docs/python.md and install pytest, pytest-timeout and hypothesis
in it, in the versions of requirements-dev.txt.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import iog
from iog.masks import Mask
from iog.predictor import Predictor
from tests.spy import SPY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = ("astronaut.jpg", "coffee.jpg")
BOXES = json.loads((EXAMPLES / "boxes.json").read_text())

needs_fiftyone = pytest.mark.skipif(
    importlib.util.find_spec("fiftyone") is None,
    reason="FiftyOne is missing: it has an environment of its own (docs/python.md)",
)
# What FiftyOne and its many packages warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

APPLY = """
import json, sys
import fiftyone as fo
import numpy as np
from fiftyone.core.config import FiftyOneConfigError

try:
    fo.list_datasets()
except (FiftyOneConfigError, ConnectionError) as error:
    sys.exit(f"no database: {error}")
from iog.integrations.fiftyone import IogModel

folder, boxes = sys.argv[1], json.loads(sys.argv[2])
dataset = fo.Dataset("boxes")
for path, given in boxes.items():
    detections = [fo.Detection(label=label, bounding_box=box) for label, box in given]
    dataset.add_sample(fo.Sample(path, ground_truth=fo.Detections(detections=detections)))
dataset.add_sample(fo.Sample(next(iter(boxes)).replace("astronaut", "cat")))

model = IogModel("iog-lite")
options = {"label_field": "masks", "skip_failures": False, "progress": False}
dataset.apply_model(model, prompt_field="ground_truth", **options)
dataset.apply_model(model, prompt_field="ground_truth", **{**options, "label_field": "sure"},
                    confidence_thresh=0.999, batch_size=2)
try:
    dataset.apply_model(model, label_field="nothing")
except ValueError as error:
    print(error)

# What the database holds, and no object that was made above.
dataset.clear_cache()
dataset.reload()
dataset.compute_metadata(progress=False)
for number, sample in enumerate(dataset):
    size = sample.metadata.width, sample.metadata.height
    found = sample["masks"].detections
    np.savez(
        f"{folder}/{number}.npz",
        masks=[each.to_segmentation(frame_size=size).mask > 0 for each in found],
        labels=[each.label for each in found],
        confidences=[each.confidence for each in found],
    )
print(len(dataset), dataset.count("masks.detections"), dataset.count("sure.detections"))
"""


def pixels_of(name: str) -> NDArray[np.uint8]:
    """A picture of the examples as FiftyOne reads it: a view with the colours in reverse."""
    pixels = cv2.imread(str(EXAMPLES / name), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.view(np.uint8)[..., ::-1]


def objects_of(name: str) -> list[tuple[str, list[int]]]:
    """The label and the box (x, y, width, height) of every object of a picture."""
    (number,) = (each["id"] for each in BOXES["images"] if each["file_name"] == name)
    labels = {each["id"]: each["name"] for each in BOXES["categories"]}
    return [
        (labels[each["category_id"]], each["bbox"])
        for each in BOXES["annotations"]
        if each["image_id"] == number
    ]


def in_fractions(name: str) -> list[tuple[str, list[float]]]:
    """The same with boxes in fractions of the picture, as FiftyOne has them."""
    height, width, _ = pixels_of(name).shape
    return [
        (label, [x / width, y / height, w / width, h / height])
        for label, (x, y, w, h) in objects_of(name)
    ]


def expected(predictor: Predictor[Any], name: str) -> iog.Masks:
    """The masks that ``Predictor`` itself makes of the boxes."""
    predictor.set_image(np.ascontiguousarray(pixels_of(name)))
    return predictor.predict_boxes([(x, y, x + w, y + h) for _, (x, y, w, h) in objects_of(name)])


@pytest.fixture(scope="module")
def predictor() -> Predictor[Any]:
    return iog.load("iog-lite", threads=1)


@pytest.fixture(scope="module")
def fo() -> Iterator[ModuleType]:
    """FiftyOne without its database, which labels and samples on their own do not need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
        patch.setenv("FIFTYONE_DISABLE_SERVICES", "1")
        yield pytest.importorskip("fiftyone")


@needs_fiftyone
def test_apply_model_makes_masks_of_the_boxes_in_a_field(
    tmp_path: Path, predictor: Predictor[Any]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SPY)
    (tmp_path / "spy.log").touch()
    given = {str(EXAMPLES / name): in_fractions(name) for name in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", APPLY, str(tmp_path), json.dumps(given)],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "SPY_LOG": str(tmp_path / "spy.log"),
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_DATABASE_DIR": str(tmp_path / "database"),
        },
        capture_output=True,
        text=True,
    )
    if "no database: " in done.stderr:
        pytest.skip(f"FiftyOne's MongoDB does not run here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr

    assert "call apply_model with prompt_field=" in done.stdout
    everything = sum(len(objects_of(name)) for name in NAMES)
    assert done.stdout.splitlines()[-1] == f"3 {everything} 0"
    for number, name in enumerate(NAMES):
        masks = expected(predictor, name)
        found = np.load(tmp_path / f"{number}.npz")
        assert found["labels"].tolist() == [label for label, _ in objects_of(name)]
        assert found["confidences"] == pytest.approx([mask.score for mask in masks])
        np.testing.assert_array_equal(found["masks"], [mask.array for mask in masks])
    assert (tmp_path / "spy.log").read_text() == ""


@needs_fiftyone
def test_a_mask_fills_its_tight_box(fo: ModuleType, predictor: Predictor[Any]) -> None:
    from iog.integrations.fiftyone import IogModel

    model = IogModel(predictor)
    model.needs_fields = {"prompt_field": "boxes"}
    ((label, box), *_), (mask, *_) = in_fractions("coffee.jpg"), expected(predictor, "coffee.jpg")
    source = fo.Detection(label=label, bounding_box=box, index=7, confidence=0.25)
    sample = fo.Sample("coffee.jpg", boxes=fo.Detections(detections=[source]))

    (found,) = model.predict(pixels_of("coffee.jpg"), sample=sample).detections

    assert (found.label, found.index, found.confidence) == (label, 7, mask.score)
    height, width = mask.size
    x0, y0, x1, y1 = mask.region
    assert found.bounding_box == pytest.approx(
        [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
    )
    assert found.mask.dtype == bool
    np.testing.assert_array_equal(found.mask, mask.pixels)
    with pytest.raises(RuntimeError, match="no image"):
        _ = predictor.image


@needs_fiftyone
def test_fiftyone_finds_the_same_pixels_again(fo: ModuleType) -> None:
    from iog.integrations.fiftyone import _detection

    numbers = np.random.default_rng(1)
    for _ in range(300):
        width, height = (int(side) for side in numbers.integers(2, 1000, 2))
        x0, x1 = sorted(int(x) for x in numbers.choice(width + 1, 2, replace=False))
        pixels = np.ones((1, x1 - x0), np.uint8)
        mask = Mask.of_region(pixels, (x0, int(numbers.integers(height))), (height, width))
        found = _detection(mask, fo.Detection())
        seen = found.to_segmentation(mask=np.zeros((height, width), np.uint8)).mask
        np.testing.assert_array_equal(seen > 0, mask.array)
        assert found.bounding_box[0] + found.bounding_box[2] <= 1


@needs_fiftyone
def test_cleaning_and_threshold_are_used(fo: ModuleType, predictor: Predictor[Any]) -> None:
    from iog.integrations.fiftyone import IogModel

    (label, box), *_ = in_fractions("coffee.jpg")
    boxes = fo.Detections(detections=[fo.Detection(label=label, bounding_box=box)])
    sample = fo.Sample("coffee.jpg", boxes=boxes)
    areas = []
    for model in (IogModel(predictor), IogModel("iog-lite", threshold=0.99, largest=1)):
        model.needs_fields = {"prompt_field": "boxes"}
        (found,) = model.predict(pixels_of("coffee.jpg"), sample=sample).detections
        areas.append(int(found.mask.sum()))
    assert areas[1] < areas[0]
    assert cv2.connectedComponents(found.mask.astype(np.uint8))[0] == 2


@needs_fiftyone
def test_a_field_without_boxes_gives_no_masks(fo: ModuleType, predictor: Predictor[Any]) -> None:
    from iog.integrations.fiftyone import IogModel

    model = IogModel(predictor)
    model.needs_fields = {"prompt_field": "boxes"}
    for boxes in (None, fo.Detections()):
        sample = fo.Sample("coffee.jpg", boxes=boxes)
        assert model.predict(pixels_of("coffee.jpg"), sample=sample).detections == []


@needs_fiftyone
def test_what_cannot_be_prompts_is_refused(fo: ModuleType, predictor: Predictor[Any]) -> None:
    from iog.integrations.fiftyone import IogModel

    model, pixels = IogModel(predictor), pixels_of("coffee.jpg")
    with pytest.raises(ValueError, match="prompt_field="):
        model.predict(pixels, sample=fo.Sample("coffee.jpg"))
    model.needs_fields = {"prompt_field": "boxes"}
    with pytest.raises(ValueError, match="prompt_field="):
        model.predict(pixels)
    with pytest.raises(TypeError, match="'boxes' holds a Keypoints, not Detections"):
        model.predict(pixels, sample=fo.Sample("coffee.jpg", boxes=fo.Keypoints()))
    outside = fo.Detections(detections=[fo.Detection(bounding_box=[1.5, 0, 0.1, 0.1])])
    with pytest.raises(iog.UnusableRequest, match="outside the image"):
        model.predict(pixels, sample=fo.Sample("coffee.jpg", boxes=outside))


@needs_fiftyone
def test_arguments_out_of_range_are_refused_at_once(
    fo: ModuleType, predictor: Predictor[Any]
) -> None:
    from iog.integrations.fiftyone import IogModel

    with pytest.raises(ValueError, match="largest is 0"):
        IogModel(predictor, largest=0)
    with pytest.raises(ValueError, match="fill_holes is -1"):
        IogModel(predictor, fill_holes=-1)
    with pytest.raises(ValueError, match="threshold is 2"):
        IogModel("iog-lite", threshold=2)
    with pytest.raises(ValueError, match="has a threshold"):
        IogModel(predictor, threshold=0.5)


def test_without_fiftyone_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    monkeypatch.delitem(sys.modules, "fiftyone.core.labels", raising=False)
    monkeypatch.delitem(sys.modules, "iog.integrations.fiftyone", raising=False)
    with pytest.raises(ImportError, match="pip install fiftyone=="):
        import iog.integrations.fiftyone  # noqa: F401
