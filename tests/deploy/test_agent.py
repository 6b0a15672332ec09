"""The agent's function: CVAT's own checks accept it, and it answers as the Nuclio function does."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
from cvat_cli._internal.agent import RecoverableExecutor, _worker_init
from cvat_cli._internal.agent_driver_interaction import (
    AgentInteractionFunctionDriver,
    _InteractionPromptsImpl,
)
from cvat_cli._internal.common import FunctionLoader
from cvat_sdk.masks import decode_mask, encode_mask
from PIL import Image

import main
from iog.errors import RequestError
from iog.masks import Mask
from iog.settings import Settings
from model_handler import ModelHandler
from tests.deploy.recipes import ROOT
from tests.random_weights import write_random_lite

PHOTO = ROOT / "examples" / "astronaut.jpg"
BOX = ((5.0, 4.0), (370.0, 512.0))


class Context(cvataa.InteractionFunctionContext):  # type: ignore[misc]
    """There is nothing in it yet."""


class Prompts(cvataa.InteractionPrompts):  # type: ignore[misc]
    """What the agent hands over."""

    pos_points = ((190.0, 320.0),)
    neg_points: tuple[tuple[float, float], ...] = ()
    bounding_box: tuple[tuple[float, float], tuple[float, float]] | None = BOX


@pytest.fixture(scope="module")
def function() -> Any:  # noqa: ANN401 - CVAT's protocol
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOG_ENGINE", "torch")
        return FunctionLoader(None, ROOT / "deploy" / "cvat_agent.py", {"model": "iog-lite"}).load()


def test_cvat_registers_an_interactor_that_starts_with_a_box(function: Any) -> None:  # noqa: ANN401
    fields = AgentInteractionFunctionDriver.get_remote_function_fields(function.spec)

    # 0: the box alone is enough.
    assert fields == {"min_pos_points": 0, "min_neg_points": 0, "startswith_box": True}


def test_a_variable_that_is_no_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IOG_MODLE", "x")

    FunctionLoader(None, ROOT / "deploy" / "cvat_agent.py", {}).load()

    assert caplog.messages == ["IOG_MODLE is no setting; did you mean IOG_MODEL?"]


def test_the_shape_is_the_mask_that_the_nuclio_function_answers(
    function: Any,  # noqa: ANN401
) -> None:
    image = function.preprocess_image(Context(), Image.open(PHOTO))
    (shape,) = function.detect(Context(), image, Prompts())

    settings = Settings(engine="torch")
    request = {
        "image": base64.b64encode(PHOTO.read_bytes()).decode(),
        "obj_bbox": BOX,
        "pos_points": Prompts.pos_points,
        "neg_points": [],
        "output": ["shapes", "mask"],
    }
    function_of_nuclio = main.Function(settings, ModelHandler(settings))
    answer = json.loads(main.respond(function_of_nuclio, json.dumps(request).encode()).body)
    (expected,) = answer["shapes"]
    mask = decode_mask(shape.points, image_width=512, image_height=512)
    # Pillow's JPEG decoder, which CVAT's agent uses, differs from OpenCV's by a grey level.
    both = np.array(answer["mask"], bool)
    assert (mask & both).sum() / (mask | both).sum() > 0.995
    assert shape.type == "mask"
    assert shape.points == encode_mask(mask)
    (confidence,) = shape.attributes
    assert confidence.spec_id == 0
    assert float(confidence.value) == pytest.approx(
        float(expected["attributes"][0]["value"]), abs=0.01
    )


def test_a_further_click_on_the_same_picture_is_cheap(function: Any) -> None:  # noqa: ANN401
    class Corrected(Prompts):
        neg_points = ((20.0, 20.0),)

    image = function.preprocess_image(Context(), Image.open(PHOTO))
    other = function.preprocess_image(Context(), Image.open(PHOTO).convert("L"))
    function.detect(Context(), image, Prompts())
    before = function._model.cache_stats()["crop"]
    function.detect(Context(), image, Corrected())
    again = function._model.cache_stats()["crop"]
    function.detect(Context(), other, Corrected())
    after = function._model.cache_stats()["crop"]

    assert (again[0] - before[0], again[1] - before[1]) == (1, 0)
    assert (after[0] - again[0], after[1] - again[1]) == (0, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_are_taken(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOG_MODEL", str(write_random_lite(tmp_path / "random.pt", input_size=64)))
    loaded: Any = FunctionLoader(None, ROOT / "deploy" / "cvat_agent.py", {}).load()
    rgb = Image.open(PHOTO)
    image = loaded.preprocess_image(
        Context(), rgb.convert("L").convert(mode) if mode == "I;16" else rgb.convert(mode)
    )

    shapes = loaded.detect(Context(), image, Prompts())

    assert all(shape.type == "mask" for shape in shapes)


def test_a_box_outside_the_picture_is_explained(function: Any) -> None:  # noqa: ANN401
    class Outside(Prompts):
        bounding_box = ((900.0, 900.0), (950.0, 950.0))

    image = function.preprocess_image(Context(), Image.open(PHOTO))
    with pytest.raises(RequestError, match="lies outside the image of 512 x 512 pixels"):
        function.detect(Context(), image, Outside())


def test_a_picture_without_the_object_gives_no_shape(
    function: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = Mask.from_array(np.zeros((8, 8)))
    monkeypatch.setattr(function._model, "predict", lambda *_, **__: [nothing])
    image = function.preprocess_image(Context(), Image.new("RGB", (8, 8)))

    assert function.detect(Context(), image, Prompts()) == []


def prompts(*corners: tuple[float, float], pos_points: Any = (), neg_points: Any = ()) -> Any:  # noqa: ANN401
    """What the agent makes of a request, of CVAT's own type."""
    return _InteractionPromptsImpl(
        pos_points=pos_points, neg_points=neg_points, bounding_box=corners or None
    )


def masks_of(shapes: list[Any]) -> list[Any]:
    return [decode_mask(shape.points, image_width=512, image_height=512) for shape in shapes]


def test_a_box_alone_is_enough(function: Any) -> None:  # noqa: ANN401
    image = function.preprocess_image(Context(), Image.open(PHOTO))

    (mask,) = masks_of(function.detect(Context(), image, prompts(*BOX)))

    assert mask[320, 190]
    assert not mask[60, 12]


def test_each_box_gets_a_shape_of_its_own(function: Any) -> None:  # noqa: ANN401
    image = function.preprocess_image(Context(), Image.open(PHOTO))
    rocket = ((350.0, 0.0), (460.0, 290.0))
    clicks = {"pos_points": ((190.0, 320.0), (405.0, 150.0)), "neg_points": ((20.0, 20.0),)}

    both = function.detect(Context(), image, prompts(*BOX, *rocket, **clicks))
    first = function.detect(
        Context(), image, prompts(*BOX, pos_points=((190.0, 320.0),), neg_points=((20.0, 20.0),))
    )
    second = function.detect(Context(), image, prompts(*rocket, pos_points=((405.0, 150.0),)))

    # Every click went to the box it lies in.
    assert [shape.points for shape in both] == [shape.points for shape in first + second]
    assert [shape.attributes for shape in both] == [shape.attributes for shape in first + second]
    astronaut, shuttle = masks_of(both)
    assert astronaut[320, 190]
    assert not astronaut[150, 405]
    assert shuttle[150, 405]
    assert not shuttle[320, 190]


def test_corners_may_come_in_any_order(function: Any) -> None:  # noqa: ANN401
    image = function.preprocess_image(Context(), Image.open(PHOTO))
    (x1, y1), (x2, y2) = BOX

    (expected,) = function.detect(Context(), image, prompts(*BOX))
    (reversed_,) = function.detect(Context(), image, prompts((x2, y1), (x1, y2)))

    assert reversed_.points == expected.points


@pytest.mark.parametrize(
    ("corners", "sentence"),
    [
        ((), "There is no box around the object."),
        ((BOX[0],), "Corners of boxes come in pairs; there are 1."),
        ((*BOX, BOX[0]), "Corners of boxes come in pairs; there are 3."),
    ],
)
def test_prompts_without_whole_boxes_are_explained(
    function: Any,  # noqa: ANN401
    corners: tuple[tuple[float, float], ...],
    sentence: str,
) -> None:
    image = function.preprocess_image(Context(), Image.open(PHOTO))
    with pytest.raises(RequestError, match=sentence):
        function.detect(Context(), image, prompts(*corners))


def test_a_refused_request_leaves_the_agents_worker_alive(
    function: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent's own executor and driver: the worker is a process, errors come back pickled."""
    monkeypatch.setenv("IOG_ENGINE", "torch")
    monkeypatch.setenv("IOG_MODEL", str(write_random_lite(tmp_path / "random.pt", input_size=64)))
    monkeypatch.setattr(
        AgentInteractionFunctionDriver, "_get_sample_from_ar_params", lambda *_: (None, None)
    )
    monkeypatch.setattr(
        AgentInteractionFunctionDriver, "_load_image_for_ar", lambda *_: Image.open(PHOTO)
    )
    loader = FunctionLoader(None, ROOT / "deploy" / "cvat_agent.py", {})

    def ask(box: list[list[float]]) -> list[Any]:
        request = {"type": "interact", "task": 1, "frame": 0, "pos_points": [], "neg_points": []}
        answer = driver.calculate_result_for_ar(request | {"obj_bbox": box}, None)
        shapes: list[Any] = answer["shapes"]
        return shapes

    with RecoverableExecutor(_worker_init, (loader, None)) as executor:
        driver = AgentInteractionFunctionDriver(None, executor, function.spec)
        ask([[5, 4], [370, 512]])
        worker = executor.submit(os.getpid).result()
        with pytest.raises(RequestError, match="lies outside the image") as caught:
            ask([[900, 900], [950, 950]])
        ask([[5, 4], [370, 512], [350, 0], [460, 290]])

        assert caught.value.field == "obj_bbox"
        assert caught.value.hint == "Send corners between (0, 0) and (512, 512)."
        assert executor.submit(os.getpid).result() == worker
