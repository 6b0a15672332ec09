"""Masks from a function at an address, such as a deployed one or `iog serve`."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import orjson
import pybase64

from iog.api.request import MAX_BOXES
from iog.bulk.records import (
    DEADLY,
    NO_OBJECT,
    BoxedImage,
    BoxedObject,
    Failure,
    ImageFile,
    ImageOutcome,
    MaskRow,
    Outcome,
)
from iog.bulk.task import other_size
from iog.errors import SettingsError

__all__ = ["UrlMapper"]

_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
# A restart of all replicas takes less.
_PATIENCE_SECONDS: Final = 180.0
# An address at which nothing stands is wrong more often than early.
_FIRST_SECONDS: Final = 10.0
# A busy function answers somebody sooner.
_SILENT_SECONDS: Final = 5.0
# The local host gives up on an answer after 60.
_TIMEOUT_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 10.0
# What proxies say of a function that is busy or starts again.
_AGAIN: Final = (502, 503, 504)
_DEATHS: Final = 2
_MISSING: Final = (
    "--url needs tenacity and urllib3: `pip install --no-deps -r requirements-bulk.txt`."
)


class UrlMapper:
    """A ``Mapper`` that sends images with all their boxes to a function.

    Several requests are under way at a time, and whatever stands at the address shares them out. A
    request that finds it busy, or is lost with its connection, is sent again, later each time.

    Args:
        url: http or https; the function answers `POST` there.
        requests: at the same time, 1 or more.
        threshold: the masks'; ``None`` for the function's own.
        patience: seconds after which a request is given up. If others were answered meanwhile, its
            image fails; if not, the run ends.

    Raises:
        SettingsError: tenacity or urllib3 is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        requests: int = 8,
        threshold: float | None = None,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        try:
            import tenacity
            import urllib3
        except ImportError as error:
            raise SettingsError(_MISSING) from error
        self._url = url
        self._threshold = threshold
        self._patience = patience
        self._requests = requests
        self._pool = ThreadPoolExecutor(requests, thread_name_prefix="request")
        self._http = urllib3.PoolManager(
            maxsize=requests,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_TIMEOUT_SECONDS),
        )
        self._lost: type[Exception] = urllib3.exceptions.HTTPError
        self._unreached = (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ConnectTimeoutError,
        )
        self._ended = threading.Event()
        self._tenacity: Any = tenacity
        self._answered = time.monotonic()
        """When the function last answered."""
        self._reached = False
        """Whether there is something at the address."""
        self._told = False
        """Whether somebody has heard that it is silent."""

    def about(self) -> dict[str, str]:
        """The model, engine and threshold that its `/health` names; nothing if it names none.

        Raises:
            SettingsError: nothing answers at the address.
        """
        answer = self._sent(None, method="GET", path="/health")
        told = {} if isinstance(answer, Failure) else answer[1]
        if told.get("model") is None:
            return {}
        return {name: str(told.get(name)) for name in ("model", "engine", "threshold")}

    def map(self, images: Iterator[BoxedImage]) -> Iterator[ImageOutcome]:
        """See ``Mapper.map``.

        Raises:
            SettingsError: nothing answers at the address, or not as the function does.
        """
        running: set[Future[ImageOutcome]] = set()
        image = next(images, None)
        while image is not None or running:
            while image is not None and len(running) < 2 * self._requests:
                running.add(self._pool.submit(self._outcome, image))
                image = next(images, None)
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()

    def close(self) -> None:
        """Wait for no answer any more."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _outcome(self, image: BoxedImage) -> ImageOutcome:
        try:
            data = _bytes_of(image.image)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return ImageOutcome.failed(image, reason)
        photo = pybase64.b64encode_as_string(data)
        outcomes = [
            each
            for objects in _groups(image.objects)
            for each in zip(objects, self._asked(photo, image, objects), strict=True)
        ]
        found = {each.number: outcome for each, outcome in outcomes}
        return ImageOutcome(image, tuple((o.number, found[o.number]) for o in image.objects))

    def _asked(
        self, photo: str, image: BoxedImage, objects: Sequence[BoxedObject]
    ) -> list[Outcome]:
        """One outcome for each object, in order."""
        boxes = [list(each.box) for each in objects]
        body: dict[str, Any] = {
            "image": photo,
            "obj_bbox": boxes,
            "pos_points": [point[:2] for each in objects for point in each.points if point[2]],
            "neg_points": [point[:2] for each in objects for point in each.points if not point[2]],
            "output": "objects",
        }
        if self._threshold is not None:
            body["threshold"] = self._threshold
        answer = self._sent(orjson.dumps(body))
        if isinstance(answer, Failure):
            return [answer] * len(objects)
        status, told = answer
        if status == 200:
            return [_outcome_of(each, image) for each in self._objects(told, len(objects))]
        error = told.get("error")
        if status in (401, 403, 404, 405) or not isinstance(error, dict) or "message" not in error:
            raise SettingsError(
                f"{self._url} answers with status {status}, and not as the function does."
            )
        message = str(error["message"])
        if len(objects) == 1:
            return [Failure(re.sub("^Box 1 ", "The box ", message))]
        if error.get("field") == "image" or status >= 500:
            return [Failure(message)] * len(objects)
        # One of the boxes is refused: each on its own, and the others get their masks.
        return [self._asked(photo, image, [each])[0] for each in objects]

    def _objects(self, told: dict[str, Any], count: int) -> list[dict[str, Any]]:
        objects = told.get("objects")
        if not isinstance(objects, list) or len(objects) != count:
            raise SettingsError(f"{self._url} does not answer as the function does.")
        return objects

    def _sent(
        self, body: bytes | None, *, method: str = "POST", path: str = ""
    ) -> tuple[int, dict[str, Any]] | Failure:
        """The status and the JSON object of the answer, after as many tries as it needs.

        Raises:
            SettingsError: nothing answers.
        """
        start = time.monotonic()
        deaths = 0
        retrying = self._tenacity.Retrying(
            retry=self._tenacity.retry_if_exception_type(_AgainLater),
            wait=self._pause,
            stop=self._gives_up,
            before_sleep=self._tell_once,
            sleep=self._tenacity.sleep_using_event(self._ended),
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    status, told = self._tried(method, path, body)
                    error = told.get("error")
                    if isinstance(error, dict) and error.get("code") == "worker_lost":
                        deaths += 1
                        if deaths == _DEATHS:
                            return Failure(DEADLY)
                    if status in _AGAIN:
                        raise _AgainLater(f"it answers with status {status}")
                    self._answered = time.monotonic()
                    self._told = False
        except _AgainLater as error:
            if not self._reached:
                raise SettingsError(
                    f"{self._url} does not answer: {error}. Check the address, or start `iog serve "
                    "--port N` there."
                ) from error
            if self._answered > start:
                return Failure(f"The function gave no answer for this image: {error}.")
            raise SettingsError(
                f"{self._url} gave no answer for {self._patience:g} seconds: {error}."
            ) from error
        return status, told

    def _pause(self, attempt: Any) -> float:  # noqa: ANN401 - of tenacity
        longest = _LONGEST_WAIT_SECONDS if self._reached else 1.0
        seconds: float = self._tenacity.wait_random_exponential(_WAIT_SECONDS, longest)(attempt)
        return seconds

    def _gives_up(self, attempt: Any) -> bool:  # noqa: ANN401 - of tenacity
        patience = self._patience if self._reached else min(self._patience, _FIRST_SECONDS)
        return self._ended.is_set() or attempt.seconds_since_start >= patience

    def _tell_once(self, attempt: Any) -> None:  # noqa: ANN401 - of tenacity
        """Say that the function is waited for, if it was there and nobody gets an answer."""
        silent = time.monotonic() - self._answered > _SILENT_SECONDS
        if self._reached and silent and not self._told:
            self._told = True
            print(
                f"{self._url} does not answer: {attempt.outcome.exception()}. It is asked again "
                f"for {self._patience:g} seconds.",
                file=sys.stderr,
                flush=True,
            )

    def _tried(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
        """One request.

        Raises:
            _AgainLater: there was no answer.
        """
        try:
            answer = self._http.request(
                method,
                self._url.rstrip("/") + path if path else self._url,
                body=body,
                headers={"Content-Type": "application/json"},
            )
        except self._lost as error:
            self._reached |= not isinstance(error, self._unreached)
            raise _AgainLater(str(error).removesuffix(".")) from error
        self._reached = True
        try:
            told = orjson.loads(answer.data)
        except orjson.JSONDecodeError:
            told = {}
        return answer.status, told if isinstance(told, dict) else {}


class _AgainLater(Exception):
    """The function is busy, or the connection was lost."""


def _bytes_of(file: ImageFile) -> bytes:
    if callable(file):
        return file()
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _groups(objects: Sequence[BoxedObject]) -> Iterator[Sequence[BoxedObject]]:
    """Objects that one request may hold: a click goes to the box it lies in, so alone."""
    plain = [each for each in objects if not each.points]
    yield from (plain[i : i + MAX_BOXES] for i in range(0, len(plain), MAX_BOXES))
    yield from ([each] for each in objects if each.points)


def _outcome_of(told: dict[str, Any], image: BoxedImage) -> Outcome:
    """The outcome that an entry of ``objects`` tells."""
    if not told["area"]:
        return Failure(NO_OBJECT)
    height, width = told["rle"]["size"]
    if image.size is not None and image.size != (height, width):
        return other_size((height, width), image.size)
    x0, y0, x1, y1 = told["box"]
    counts = told["rle"]["counts"]
    return MaskRow((height, width), counts, (x0, y0, x1, y1), told["area"], told["score"])
