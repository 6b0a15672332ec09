"""The Nuclio function: `init_context` once for each worker, `handler` once for each request.

Nuclio waits two minutes for the import of this module but as long as it takes for
`init_context`, so nothing heavy is imported before that. NumPy and OpenCV come with
`model_handler`, torch or OpenVINO with the model.
"""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iog import __version__
from iog.api.body import json_object, misspelt
from iog.api.headers import IMAGE, REQUEST_ID, WARNING, outputs_for, request_id
from iog.api.request import FIELDS, mask_of, parse
from iog.api.response import write
from iog.errors import (
    InternalError,
    MalformedRequest,
    NotAnImage,
    RequestError,
    SettingsError,
    WeightsError,
)
from iog.settings import Settings, unknown_variables

if TYPE_CHECKING:
    from nuclio_sdk import Context, Event, Response

    from iog.image import Image
    from model_handler import ModelHandler

# With whatever stands before it where a proxy or an ingress adds it.
_IMAGES = re.compile(r"/images/([^/]*)\Z")
SHOWN_PROMPTS = 20
"""More boxes or points than this are only counted in the log."""

__all__ = ["Answer", "Function", "handler", "init_context", "respond"]


@dataclass(frozen=True)
class Function:
    """What a worker keeps from one request to the next."""

    settings: Settings
    model: ModelHandler


@dataclass
class Answer:
    """What goes back to the client, and what is told about it.

    Attributes:
        status: HTTP status.
        body: JSON text.
        headers: HTTP headers beside the content type.
        report: the fields of the request's log line: milliseconds of each stage, sizes, counts.
    """

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    report: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report how long the block takes, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.report[f"{name}_ms"] = _milliseconds_since(start)


def init_context(context: Context) -> None:
    """Load the model and warm it up; Nuclio calls this before the first request.

    Raises:
        SettingsError: an environment variable has an unusable value.
        WeightsError: the weights are missing or unusable.
    """
    start = time.perf_counter()
    strangers = unknown_variables()
    if strangers and context.worker_id in (None, "0"):  # one worker speaks for all
        context.logger.warn(" ".join(strangers))
    try:
        settings = Settings.from_env()
        from model_handler import ModelHandler  # heavy: never at this module's import

        model = ModelHandler(settings)
        model.warm_up()
    except (SettingsError, WeightsError) as error:
        context.logger.error(f"Cannot start: {error}")
        raise
    except Exception as error:
        context.logger.error(f"Cannot start: {type(error).__name__}: {error}")
        raise
    context.user_data.function = Function(settings, model)
    about = {**model.describe(), "version": __version__}
    context.user_data.about = about
    context.logger.info_with("Started", **about, start_ms=_milliseconds_since(start))


def handler(context: Context, event: Event) -> Response:
    """Answer one request: always JSON, never an exception.

    ``PUT /images/{sha256}`` keeps an image; everything else, whatever its method and path, asks for
    a mask.

    The report of the request becomes one log line, and stays at ``context.user_data.report`` for
    the host's metrics.
    """
    named = _IMAGES.search(str(event.path)) if event.method == "PUT" else None
    answer = respond(
        context.user_data.function,
        event.body,
        event.headers,
        image_sha256=None if named is None else named[1],
    )
    context.user_data.report = answer.report
    if answer.status < 400 and "warning" not in answer.report:
        log = context.logger.info_with
    elif answer.status < 500:
        log = context.logger.warn_with
    else:
        log = context.logger.error_with
    log(
        "Request", **{name: value for name, value in answer.report.items() if _telling(name, value)}
    )
    return context.Response(
        body=answer.body,
        headers=answer.headers,
        content_type="application/json",
        status_code=answer.status,
    )


def respond(
    function: Function, body: object, headers: object = None, *, image_sha256: str | None = None
) -> Answer:
    """Turn a request's body into the answer and its report.

    Args:
        function: the worker's model and settings.
        body: a dict, or the bytes or text of a JSON object.
        headers: of the request, in any of Nuclio's forms.
        image_sha256: of an image that is to be kept; the body is its file.

    Returns:
        The mask, or what is known of the image, with status 200; or the error with the status that
        belongs to it. Whatever goes wrong unexpectedly, memory and recursion limits included, is
        status 500; the traceback is in the report and not in the answer.
    """
    number = request_id(headers)
    answer = Answer(headers={REQUEST_ID: number})
    start = time.perf_counter()
    before = function.model.cache_stats()
    try:
        if image_sha256 is None:
            _segment(function, body, headers, answer)
        else:
            _keep(function, body, image_sha256, answer)
    except RequestError as error:
        _refuse(answer, error)
    except Exception:
        answer.report["traceback"] = traceback.format_exc()
        _refuse(answer, InternalError())
    for name, (hits, misses) in function.model.cache_stats().items():
        answer.report[f"{name}_cache_hits"] = hits - before[name][0]
        answer.report[f"{name}_cache_misses"] = misses - before[name][1]
    outcome: dict[str, object] = {
        "status": answer.status,
        "total_ms": _milliseconds_since(start),
        "request_id": number,
    }
    answer.report = outcome | answer.report
    return answer


def _keep(function: Function, body: object, sha256: str, answer: Answer) -> None:
    """The way of an image that is sent ahead."""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise MalformedRequest(
            "invalid_sha256",
            "The path names no SHA-256.",
            field="sha256",
            hint="PUT the file to /images/ and its SHA-256 as 64 lower-case hexadecimal digits.",
        )
    if not isinstance(body, bytes) or not body:
        raise NotAnImage(
            "not_an_image",
            "The body is not an image file.",
            hint="Send the file's bytes as they are, and no content type of JSON.",
        )
    with answer.stage("open"):
        image = function.model.keep(body, sha256)
    _show_image(answer, image)
    height, width = image.size
    answer.body = json.dumps({"image_sha256": sha256, "width": width, "height": height})


def _segment(function: Function, body: object, headers: object, answer: Answer) -> None:
    """The way of a request, stage by stage."""
    report, model = answer.report, function.model
    with answer.stage("parse"):
        outputs = function.settings.output or outputs_for(headers)
        fields = json_object(body)
        _warn(answer, misspelt(fields, FIELDS))
        request = parse(fields, default_outputs=outputs)
    report["boxes"] = _shown(request.boxes)
    report["pos_points"] = _shown(request.pos_points)
    report["neg_points"] = _shown(request.neg_points)
    with answer.stage("open"):
        if request.image_sha256:
            image = model.known(request.image_sha256)
        else:
            image = model.open(request.image)
    _show_image(answer, image)
    with answer.stage("predict"):
        start = request.mask_input
        masks = model.predict(
            image,
            mask_input=None if start is None else mask_of(start, image.size),
            boxes=request.boxes,
            pos_points=request.pos_points,
            neg_points=request.neg_points,
            threshold=request.threshold,
            largest=request.largest,
            fill_holes=request.fill_holes,
        )
    # Among them `open`, from now on with the pixels: they were read where a crop needed them.
    report.update({f"{name}_ms": round(ms, 2) for name, ms in model.timings.items()})
    report["mask_area"] = sum(mask.area for mask in masks)
    with answer.stage("write"):
        answer.body = write(masks, request.outputs, form=request.form, tolerance=request.tolerance)


def _show_image(answer: Answer, image: Image) -> None:
    height, width = image.size
    answer.report["image_size"] = f"{width}x{height}"
    answer.headers[IMAGE] = str(image.key)


def _warn(answer: Answer, sentences: list[str]) -> None:
    """Tell of what was ignored, in the log and in a header: CVAT reads the body only."""
    if sentences:
        answer.report["warning"] = answer.headers[WARNING] = " ".join(sentences)


def _telling(name: str, value: object) -> bool:
    """Whether the log shows a field: the metrics count in zeros too, people do not."""
    return value != 0 or not name.endswith(("_cache_hits", "_cache_misses"))


def _refuse(answer: Answer, error: RequestError) -> None:
    answer.status = error.status
    # Escaped to ASCII: a message may quote a lone surrogate, which has no UTF-8 form.
    answer.body = json.dumps(error.as_dict())
    answer.report.update(code=error.code, error=error.message, field=error.field, hint=error.hint)


def _milliseconds_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 2)


def _shown(prompts: Sequence[Sequence[float]]) -> list[list[float]] | int:
    """Prompts as the log shows them: what reproduces a complaint, or their number if too many."""
    if len(prompts) > SHOWN_PROMPTS:
        return len(prompts)
    return [[round(value, 1) for value in prompt] for prompt in prompts]
