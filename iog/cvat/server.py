"""A CVAT server and how to speak with it: who you are, what is asked again, what an error means.

Answers are read as JSON and not as cvat-sdk's models, which check every number of every mask in
Python. What is sent is built from the models.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeVar

import tenacity
import urllib3
from cvat_sdk import Client, exceptions, models
from cvat_sdk.core import auth
from cvat_sdk.core.client import AccessTokenCredentials, Credentials
from cvat_sdk.core.exceptions import CvatSdkException
from cvat_sdk.core.helpers import get_paginated_collection
from cvat_sdk.core.utils import normalize_server_url

from iog.errors import DatasetError, SettingsError

__all__ = ["USER_VARIABLE", "Frame", "Lost", "Server", "connect"]

T = TypeVar("T")

USER_VARIABLE: Final = "CVAT_USER"
_PASSWORD_VARIABLE: Final = "PASS"  # cvat-cli's
_PASSING: Final = (429, 500, 502, 503, 504)
# On top of cvat-sdk's own four of a read, which do not cover an answer that breaks off.
_ATTEMPTS: Final = 4
# What an older or newer server asks for when it deletes: it goes by the id.
_SHAPE: Final = ("id", "type", "label_id", "frame", "points")
_TRACK: Final = ("id", "label_id", "frame")
_TRACKED: Final = ("type", "frame", "points")


class Lost(Exception):
    """The server has not answered, or with an error of its own: it may have done what was asked."""


@dataclass(frozen=True)
class Server:
    """A CVAT server. It can be pickled; each process has a connection of its own.

    Args:
        url: such as ``https://app.cvat.ai``.
        credentials: an access token, or user and password.
        patience: seconds until what failed in passing is asked again; twice as long each time.
    """

    url: str
    credentials: Credentials = field(repr=False, compare=False)
    patience: float = 0.5

    def read(self, call: Callable[[Client], T]) -> T:
        """The result of something that changes nothing, asked again when it fails in passing.

        Raises:
            DatasetError: the server refused, or did not answer at all.
        """
        repeated = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_exponential(self.patience, max=30),
            retry=tenacity.retry_if_exception(_is_passing),
            reraise=True,
        )
        try:
            return repeated(lambda: call(_client(self, os.getpid())))
        except (exceptions.ApiException, urllib3.exceptions.HTTPError) as error:
            raise DatasetError(self._sentence(error)) from error

    def change(self, call: Callable[[Client], T]) -> T:
        """The result of something that changes annotations; asked once.

        Raises:
            Lost: whether it was done is not known: look.
            DatasetError: the server refused.
        """
        try:
            return call(_client(self, os.getpid()))
        except (exceptions.ApiException, urllib3.exceptions.HTTPError) as error:
            if _is_passing(error):
                raise Lost(self._sentence(error)) from error
            raise DatasetError(self._sentence(error)) from error

    def wait_before(self, attempt: int) -> None:
        """Wait before what was lost is tried again.

        Args:
            attempt: 1 or more.
        """
        tenacity.nap.sleep(min(self.patience * 2 ** (attempt - 1), 30))

    def annotations(self, job: int) -> dict[str, Any]:
        """The job's annotations: ``tags``, ``shapes``, ``tracks``; frames are the task's."""
        return self.read(
            lambda client: _content(
                client.api_client.jobs_api.retrieve_annotations(job, _parse_response=False)
            )
        )

    def create(self, job: int, shapes: list[dict[str, Any]]) -> None:
        """Add shapes to a job; see ``change``."""
        self._patch(job, "create", shapes=[models.LabeledShapeRequest(**each) for each in shapes])

    def delete(self, job: int, shapes: list[dict[str, Any]], tracks: list[dict[str, Any]]) -> None:
        """Remove shapes and tracks, as ``annotations`` gave them, from a job; see ``change``."""
        self._patch(
            job,
            "delete",
            shapes=[models.LabeledShapeRequest(**_only(each, _SHAPE)) for each in shapes],
            tracks=[
                models.LabeledTrackRequest(
                    **_only(each, _TRACK),
                    shapes=[_only(shape, _TRACKED) for shape in each["shapes"]],
                )
                for each in tracks
            ],
        )

    def _patch(self, job: int, action: str, **content: list[Any]) -> None:
        request = models.PatchedLabeledDataRequest(
            **{"version": 0, "tags": [], "shapes": [], "tracks": [], **content}
        )
        self.change(
            lambda client: (
                client.api_client.jobs_api.partial_update_annotations(
                    action, job, patched_labeled_data_request=request, _parse_response=False
                )[1].data
            )
        )

    def listed(self, kind: str, **wanted: int) -> list[dict[str, Any]]:
        """All ``jobs``, ``tasks`` or ``labels`` of a task, project or job, page by page."""
        return self.read(
            lambda client: get_paginated_collection(
                getattr(client.api_client, f"{kind}_api").list_endpoint,
                return_json=True,
                page_size=100,
                _parse_response=False,
                **wanted,
            )
        )

    def retrieved(self, kind: str, number: int, what: str = "") -> dict[str, Any]:
        """One job, task or project; with ``what``, a part of it such as ``data_meta``."""
        return self.read(
            lambda client: _content(
                getattr(getattr(client.api_client, f"{kind}_api"), f"retrieve{what and '_'}{what}")(
                    number, _parse_response=False
                )
            )
        )

    def _sentence(self, error: Exception) -> str:
        if not isinstance(error, exceptions.ApiException):
            reason = getattr(error, "reason", None) or error
            return f"{self.url} does not answer ({reason}); is CVAT running there?"
        if error.status == 401:
            return f"{self.url} does not know who you are; {_WHO}."
        if error.status == 403:
            return f"{self.url} does not let this user do that: {_detail(error)}"
        if error.status == 404:
            return f"{self.url} has no such thing, or hides it from this user: {_detail(error)}"
        return f"{self.url} answered with status {error.status}: {_detail(error)}"


_WHO: Final = (
    f"put an access token into {auth.CVAT_ACCESS_TOKEN_ENV_VAR}, save one with `cvat-cli profile`, "
    f"or put your name into {USER_VARIABLE} and the password into {_PASSWORD_VARIABLE}"
)


@dataclass(frozen=True)
class Frame:
    """Gets the file of a frame, in the quality in which it was uploaded; a worker calls it.

    CVAT has turned it upright, which is how annotations are drawn.
    """

    server: Server
    job: int
    number: int

    def __call__(self) -> bytes:
        """The bytes of an image file.

        Raises:
            OSError: the server does not give it; the sentence says why.
        """
        try:
            return self.server.read(self._bytes)
        except DatasetError as error:
            raise OSError(str(error)) from error

    def _bytes(self, client: Client) -> bytes:
        _, response = client.api_client.jobs_api.retrieve_data(
            self.job, number=self.number, quality="original", type="frame", _parse_response=False
        )
        data: bytes = response.data
        return data


def connect(url: str) -> Server:
    """The server at an address, with what the environment or cvat-cli's profiles say of you.

    In this order: the access token in ``CVAT_ACCESS_TOKEN``; a profile that `cvat-cli profile`
    saved for this address; the user in ``CVAT_USER`` with the password in ``PASS``, or typed.

    Raises:
        SettingsError: the address is none, or nothing says who you are.
        DatasetError: the server does not answer, or does not know you.
    """
    try:
        address = normalize_server_url(url)
        credentials = _credentials(address)
    except CvatSdkException as error:
        raise SettingsError(str(error)) from error
    server = Server(address, credentials)
    server.read(
        lambda client: _content(client.api_client.users_api.retrieve_self(_parse_response=False))
    )
    return server


def _credentials(url: str) -> Credentials:
    if token := os.environ.get(auth.CVAT_ACCESS_TOKEN_ENV_VAR):
        return AccessTokenCredentials(token)
    store = auth.AuthStore()
    profiles = store.list_profiles()
    default = store.get_default_profile()
    for profile in ([default[1]] if default else []) + list(profiles.values()):
        if profile.server == url:
            return AccessTokenCredentials(profile.token)
    user = os.environ.get(USER_VARIABLE)
    if not os.environ.get(_PASSWORD_VARIABLE) and not sys.stdin.isatty():
        raise SettingsError(f"Nothing says who you are at {url}: {_WHO}.")
    return auth.get_auth_factory(user or getpass.getuser())(url)


@lru_cache(maxsize=4)
def _client(server: Server, process: int) -> Client:  # a forked process must not share sockets
    client = Client(server.url, check_server_version=False)
    client.login(server.credentials)
    return client


def _is_passing(error: BaseException) -> bool:
    """Whether the same may succeed a little later."""
    if isinstance(error, exceptions.ApiException):
        return error.status in _PASSING
    return isinstance(error, urllib3.exceptions.HTTPError)


def _only(fields: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: fields[name] for name in wanted}


def _content(answer: tuple[object, urllib3.BaseHTTPResponse]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(answer[1].data)
    return content


def _detail(error: exceptions.ApiException) -> str:
    text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    return " ".join(str(text or error.reason or "").split())[:300]
