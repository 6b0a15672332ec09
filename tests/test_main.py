"""`init_context` and `handler`, with a stand-in for the model."""

from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nuclio_sdk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nuclio_sdk.logger import JSONFormatter

import main
import model_handler
from iog import __version__
from iog.errors import SettingsError, UnusableRequest, WeightsError
from iog.image import Image
from iog.masks import Mask
from iog.settings import Settings

HEIGHT, WIDTH = 40, 60


class FakeModel:
    """Takes the boxes for masks; ``fail`` is raised in ``predict`` when set."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.warm = False
        self.fail: BaseException | None = None
        self.asked: dict[str, Any] = {}
        self.decoded = 0
        self.timings: dict[str, float] = {}

    def describe(self) -> dict[str, object]:
        return {"model": self.settings.model, "engine": "fake", "precision": "fp32"}

    def warm_up(self) -> None:
        self.warm = True

    def cache_stats(self) -> dict[str, tuple[int, int]]:
        return {"image": (0, self.decoded)}

    def open(self, data: bytes) -> Image:
        self.decoded += 1
        return Image(data, max_pixels=10_000)

    def keep(self, data: bytes, sha256: str) -> Image:
        self.kept = sha256
        return Image(data, key=sha256)

    def predict(self, image: Image, **asked: Any) -> list[Mask]:  # noqa: ANN401
        if self.fail is not None:
            raise self.fail
        self.asked = asked | {"image_key": image.key}
        self.timings = {"open": image.open_ms, "network": 12.3456}
        mask = np.zeros(image.size, np.uint8)
        if asked["threshold"] == 0.99:
            return [Mask.from_array(mask)]
        x0, y0, x1, y1 = (int(v) for v in asked["boxes"][0])
        mask[y0:y1, x0:x1] = 1
        return [Mask.of_region(mask, (0, 0), image.size, score=0.75)]


class Worker:
    """A Nuclio worker: a context, its log as parsed lines, and requests to it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        logger = nuclio_sdk.Logger(logging.DEBUG, "test_main")
        logger.set_handler("default", self.stream, JSONFormatter())
        self.context = nuclio_sdk.Context(logger=logger)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def model(self) -> FakeModel:
        model = self.context.user_data.function.model
        assert isinstance(model, FakeModel)
        return model

    def ask(self, body: object, headers: object = None) -> tuple[int, dict[str, Any]]:
        response = main.handler(self.context, nuclio_sdk.Event(body=body, headers=headers))
        assert isinstance(response, nuclio_sdk.Response)
        assert isinstance(response.body, str)
        assert response.content_type == "application/json"
        return response.status_code, json.loads(response.body)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    for name in list(Settings.__dataclass_fields__):
        monkeypatch.delenv(f"IOG_{name.upper()}", raising=False)
    monkeypatch.setattr(model_handler, "ModelHandler", FakeModel)
    worker = Worker()
    main.init_context(worker.context)
    return worker


def png() -> str:
    _, encoded = cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return base64.b64encode(encoded.tobytes()).decode()


def request(**changes: object) -> dict[str, object]:
    return {
        "image": png(),
        "obj_bbox": [[10, 5], [20, 25]],
        "pos_points": [[15.5, 15.5]],
        "neg_points": [],
        **changes,
    }


def test_the_start_is_one_line_that_says_what_runs(worker: Worker) -> None:
    (line,) = worker.log

    assert worker.model.warm
    assert line["level"] == "info"
    assert line["with"]["model"] == "iog-lite"
    assert line["with"]["engine"] == "fake"
    assert line["with"]["start_ms"] >= 0
    assert line["with"]["version"] == __version__
    assert worker.context.user_data.about == {**worker.model.describe(), "version": __version__}


@pytest.mark.parametrize("kind", ["dict", "bytes", "str"])
def test_a_request_becomes_a_mask(worker: Worker, kind: str) -> None:
    body: object = request()
    if kind != "dict":
        body = json.dumps(body) if kind == "str" else json.dumps(body).encode()

    status, answer = worker.ask(body)

    assert status == 200
    mask = np.array(answer["mask"])
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.sum() == 10 * 20
    assert mask[5:25, 10:20].all()
    assert len(answer["points"]) == 4


def test_a_request_is_one_log_line_with_its_figures(worker: Worker) -> None:
    worker.ask(request(neg_points=[[1, 1], [2, 2]]))

    line = worker.log[-1]
    assert len(worker.log) == 2  # one of the start
    assert line["level"] == "info"
    report = line["with"]
    assert report["status"] == 200
    assert report["image_size"] == "60x40"
    assert report["boxes"] == [[10.0, 5.0, 20.0, 25.0]]
    assert report["pos_points"] == [[15.5, 15.5]]
    assert len(report["neg_points"]) == 2
    assert report["mask_area"] == 200
    assert report["network_ms"] == 12.35
    assert report["image_cache_misses"] == 1
    assert "image_cache_hits" not in report  # 0: nothing to tell
    for stage in ("parse", "open", "predict", "write", "total"):
        assert report[f"{stage}_ms"] >= 0
    assert worker.context.user_data.report == {**report, "image_cache_hits": 0}


@pytest.mark.parametrize("headers", [{"X-Request-Id": "abc-1"}, {b"x-request-id": b"abc-1"}])
def test_the_number_of_a_request_is_taken_over(worker: Worker, headers: Any) -> None:  # noqa: ANN401
    event = nuclio_sdk.Event(body=request(), headers=headers)

    response = main.handler(worker.context, event)

    assert isinstance(response, nuclio_sdk.Response)
    assert response.headers["X-Request-ID"] == "abc-1"
    assert worker.log[-1]["with"]["request_id"] == "abc-1"


@pytest.mark.parametrize("body", [request(), b"{"])
def test_a_request_without_a_number_gets_one(worker: Worker, body: object) -> None:
    responses = [main.handler(worker.context, nuclio_sdk.Event(body=body)) for _ in range(2)]

    numbers = [response.headers["X-Request-ID"] for response in responses]
    assert [line["with"]["request_id"] for line in worker.log[-2:]] == numbers
    assert len(set(numbers)) == 2


@pytest.mark.parametrize("status", [200, 422])
def test_a_key_that_is_almost_right_is_told_in_the_log_and_in_a_header(
    worker: Worker, status: int
) -> None:
    changes = {"negpoints": [[1, 1]]} | ({} if status == 200 else {"obj_bbox": None})
    response = main.handler(worker.context, nuclio_sdk.Event(body=request(**changes)))

    told = "'negpoints' is ignored; did you mean 'neg_points'?"
    assert isinstance(response, nuclio_sdk.Response)
    assert response.status_code == status
    assert response.headers["X-IOG-Warning"] == told
    assert worker.log[-1]["with"]["warning"] == told
    assert worker.log[-1]["level"] == "warning"
    assert "negpoints" not in response.body


def test_keys_that_are_like_none_of_ours_are_no_matter(worker: Worker) -> None:
    response = main.handler(
        worker.context, nuclio_sdk.Event(body=request(frame=3, text_prompts=["cat"]))
    )

    assert set(response.headers) == {"X-Request-ID", "X-IOG-Image"}
    assert worker.log[-1]["level"] == "info"
    assert "warning" not in worker.log[-1]["with"]


@pytest.mark.parametrize("prefix", ["", "/iog"])
def test_an_image_is_put_wherever_nuclio_passes_the_path(worker: Worker, prefix: str) -> None:
    name = "0" * 64
    event = nuclio_sdk.Event(
        body=base64.b64decode(png()), method="PUT", path=f"{prefix}/images/{name}"
    )

    response = main.handler(worker.context, event)

    assert isinstance(response, nuclio_sdk.Response)
    assert response.status_code == 200
    assert json.loads(response.body) == {"image_sha256": name, "width": WIDTH, "height": HEIGHT}
    assert worker.model.kept == name
    assert worker.log[-1]["with"]["image_size"] == f"{WIDTH}x{HEIGHT}"


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/"), ("PUT", "/images"), ("POST", f"/images/{'0' * 64}"), ("GET", ""), (None, None)],
)
def test_everything_else_asks_for_a_mask(
    worker: Worker, method: str | None, path: str | None
) -> None:
    event = nuclio_sdk.Event(body=request(), method=method, path=path)

    response = main.handler(worker.context, event)

    assert isinstance(response, nuclio_sdk.Response)
    assert set(json.loads(response.body)) == {"mask", "points"}


def test_threshold_and_outputs_are_passed_on(worker: Worker) -> None:
    status, answer = worker.ask(request(threshold=0.3, output=["rle", "png"]))

    assert status == 200
    assert set(answer) == {"rle", "png"}
    assert worker.model.asked["threshold"] == 0.3
    assert worker.model.asked["image_key"]


def test_options_are_passed_on(worker: Worker) -> None:
    options = {"largest": 2, "fill_holes": 30}
    status, answer = worker.ask(request(output="objects", form="polygon", tolerance=0, **options))

    assert status == 200
    (entry,) = answer["objects"]
    assert (entry["box"], entry["score"], entry["area"]) == ([10, 5, 20, 25], 0.75, 200)
    assert len(entry["polygon"][0]["exterior"]) == 4
    assert {name: worker.model.asked[name] for name in options} == options


def test_an_empty_mask_is_an_answer(worker: Worker) -> None:
    status, answer = worker.ask(request(threshold=0.99))

    assert status == 200
    assert np.array(answer["mask"]).shape == (HEIGHT, WIDTH)
    assert answer["points"] == []
    assert worker.log[-1]["with"]["mask_area"] == 0


def test_the_environment_chooses_the_outputs_of_requests_that_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_handler, "ModelHandler", FakeModel)
    monkeypatch.setenv("IOG_OUTPUT", "shapes")
    worker = Worker()
    main.init_context(worker.context)

    assert set(worker.ask(request())[1]) == {"shapes"}
    assert "mask" in worker.ask(request(output="mask"))[1]


CVAT = {"User-Agent": "CVAT/2.73.0 python-requests/2.33.1"}


def test_cvat_gets_what_it_reads_and_others_a_mask(worker: Worker) -> None:
    old = {"User-Agent": "CVAT/2.59.1 python-requests/2.32.4"}

    assert set(worker.ask(request(), CVAT)[1]) == {"shapes"}
    assert set(worker.ask(request(), old)[1]) == {"mask", "points"}
    assert set(worker.ask(request())[1]) == {"mask", "points"}


def test_a_requests_own_output_wins_over_the_client(worker: Worker) -> None:
    assert set(worker.ask(request(output="rle"), CVAT)[1]) == {"rle"}


def test_the_environments_output_wins_over_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_handler, "ModelHandler", FakeModel)
    monkeypatch.setenv("IOG_OUTPUT", "mask")
    worker = Worker()
    main.init_context(worker.context)

    assert set(worker.ask(request(), CVAT)[1]) == {"mask", "points"}


def test_a_bad_request_gets_its_status_and_a_warning(worker: Worker) -> None:
    status, answer = worker.ask(request(obj_bbox=None))

    assert status == 422
    assert set(answer["error"]) == {"code", "message", "field", "hint"}
    assert answer["error"]["code"] == "missing_box"
    line = worker.log[-1]
    assert line["level"] == "warning"
    assert line["with"]["status"] == 422
    assert line["with"]["code"] == "missing_box"
    assert line["with"]["error"] == answer["error"]["message"]
    assert line["with"]["parse_ms"] >= 0


def test_a_late_refusal_keeps_the_figures_so_far(worker: Worker) -> None:
    worker.model.fail = UnusableRequest("box_outside_image", "It lies outside.", field="obj_bbox")

    status, answer = worker.ask(request())

    assert status == 422
    assert answer["error"]["field"] == "obj_bbox"
    assert worker.log[-1]["with"]["image_size"] == "60x40"


@pytest.mark.parametrize(
    "error",
    [
        KeyError("/secret/path"),
        MemoryError("/secret/path"),
        RecursionError("/secret/path"),
        OSError(5, "Input/output error", "/secret/path"),
        AssertionError(),
    ],
)
def test_an_unexpected_error_is_a_500_that_tells_nothing(
    worker: Worker, error: BaseException
) -> None:
    worker.model.fail = error

    status, answer = worker.ask(request())

    assert status == 500
    assert answer["error"]["code"] == "internal_error"
    text = json.dumps(answer)
    for leak in ("Traceback", "secret", "main.py", type(error).__name__):
        assert leak not in text
    line = worker.log[-1]
    assert line["level"] == "error"
    assert type(error).__name__ in line["with"]["traceback"]
    assert "test_main.py" in line["with"]["traceback"]

    worker.model.fail = None
    assert worker.ask(request())[0] == 200


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_order_to_stop_is_obeyed(worker: Worker, error: BaseException) -> None:
    worker.model.fail = error

    with pytest.raises(type(error)):
        worker.ask(request())


def test_a_lone_surrogate_in_a_request_is_answered(worker: Worker) -> None:
    status, answer = worker.ask(b'{"image": "\\ud800", "obj_bbox": [[1, 1], [2, 2]]}')

    assert status == 400
    assert answer["error"]["field"] == "image"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = ("image", "obj_bbox", "pos_points", "neg_points", "threshold", "output", "form", "largest")
BODIES = (
    st.binary(max_size=200)
    | st.text(max_size=200)
    | JSON
    | st.dictionaries(st.sampled_from(FIELDS), JSON)
)


@pytest.fixture(scope="module")
def ask_anything() -> Callable[[object], int]:
    function = main.Function(Settings(), FakeModel(Settings()))  # type: ignore[arg-type]

    def ask(body: object) -> int:
        answer = main.respond(function, body)
        json.loads(answer.body)
        return answer.status

    return ask


@given(body=BODIES)
def test_whatever_comes_is_answered_and_never_a_500(
    ask_anything: Callable[[object], int], body: object
) -> None:
    assert ask_anything(body) in {200, 400, 409, 413, 415, 422}


def start_with(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, **environ: str
) -> Worker:
    def refuse(settings: Settings) -> FakeModel:
        if error is not None:
            raise error
        return FakeModel(settings)

    monkeypatch.setattr(model_handler, "ModelHandler", refuse)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Worker()


def test_a_wrong_setting_stops_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = start_with(monkeypatch, IOG_PRECISION="fp8")

    with pytest.raises(SettingsError):
        main.init_context(worker.context)

    (line,) = worker.log
    assert line["level"] == "error"
    assert line["message"] == (
        "Cannot start: IOG_PRECISION is 'fp8'; it must be one of: fp32, bf16, fp16."
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (WeightsError("The weights are not there."), "Cannot start: The weights are not there."),
        (OSError("disk"), "Cannot start: OSError: disk"),
    ],
)
def test_any_failure_at_the_start_is_told_and_raised(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    worker = start_with(monkeypatch, error)

    with pytest.raises(type(error)):
        main.init_context(worker.context)

    (line,) = worker.log
    assert line["message"] == message


def test_a_variable_that_is_no_setting_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = start_with(monkeypatch, IOG_MODLE="x")

    main.init_context(worker.context)

    warning, started = worker.log
    assert warning["level"] == "warning"
    assert warning["message"] == "IOG_MODLE is no setting; did you mean IOG_MODEL?"
    assert started["message"] == "Started"


@pytest.mark.parametrize(("number", "lines"), [("0", 2), ("1", 1)])
def test_one_worker_tells_for_all(monkeypatch: pytest.MonkeyPatch, number: str, lines: int) -> None:
    worker = start_with(monkeypatch, IOG_MODLE="x")
    worker.context.worker_id = number

    main.init_context(worker.context)

    assert len(worker.log) == lines


def test_nothing_heavy_is_imported_before_the_start() -> None:
    code = "import main, sys; print('torch' in sys.modules, 'model_handler' in sys.modules)"
    root = Path(main.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "False"]
