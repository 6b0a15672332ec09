"""Every error this project raises on purpose, in one place.

    Exception
    |-- RequestError               the request cannot be answered; becomes an HTTP answer
    |   |-- MalformedRequest  400  the body is not what the interface describes
    |   |-- UnknownImage      409  the worker does not have the image that the digest names
    |   |-- TooManyPixels     413  the image is larger than the limit, or than the cache
    |   |-- NotAnImage        415  the bytes under `image` are no image we can read
    |   |-- UnusableRequest   422  well formed, but there is nothing to segment
    |   `-- InternalError     500  our fault
    |-- SettingsError              (ValueError) a setting the function cannot start with
    |-- WeightsError               (RuntimeError) weights the function cannot start with
    `-- DatasetError               (RuntimeError) a data set that cannot be read

A `RequestError` carries two names: the class gives the HTTP status, `code` says exactly what
happened. Codes are part of the interface: clients compare them, so they are never renamed.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final, Literal

from dataloaders import DatasetError

__all__ = [
    "Code",
    "DatasetError",
    "InternalError",
    "MalformedRequest",
    "NotAnImage",
    "RequestError",
    "SettingsError",
    "TooManyPixels",
    "UnknownImage",
    "UnusableRequest",
    "WeightsError",
]

INSTALL_TORCH: Final = "install it with `make torch` (or `pip install -r requirements-torch.txt`)"
"""What to type where torch, or what comes with it, is missing."""
INSTALL_TORCH_CUDA: Final = "install it with `make torch CUDA=1`"
"""The same where an NVIDIA GPU is asked for."""

Code = Literal[
    # 400
    "empty_body",
    "invalid_encoding",
    "invalid_json",
    "not_an_object",
    "missing_field",
    "invalid_type",
    "invalid_number",
    "invalid_point",
    "invalid_box",
    "invalid_threshold",
    "invalid_base64",
    "empty_image",
    "unknown_output",
    "unknown_form",
    "invalid_tolerance",
    "invalid_largest",
    "invalid_fill_holes",
    "invalid_sha256",
    "other_sha256",
    "two_images",
    "invalid_mask",
    # 409
    "unknown_image",
    # 413
    "too_many_pixels",
    "not_kept",
    # 415
    "not_an_image",
    "broken_image",
    # 422
    "missing_box",
    "empty_box",
    "box_outside_image",
    "too_many_points",
    "too_many_boxes",
    "other_size",
    "empty_mask",
    # 500
    "internal_error",
]


class RequestError(Exception):
    """A request that gets no mask, and what to tell whoever sent it.

    Attributes:
        status: HTTP status code, fixed by the class.
        code: stable snake_case name of the cause, finer than the status.
        message: one sentence: what was wrong.
        field: path of the offending value, such as ``pos_points[0][1]``; None for the whole body.
        hint: one sentence: what to send instead.
    """

    status: ClassVar[int] = 500

    def __init__(
        self, code: Code, message: str, *, field: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.field = field
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """How to pickle it: CVAT's agent hands errors from one process to another.

        An exception's own way passes ``args`` alone to the class, here the message.
        """
        build = partial(type(self), field=self.field, hint=self.hint)
        return build, (self.code, self.message), vars(self)

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """The JSON body of the answer. It never holds a traceback or a path of this machine."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "field": self.field,
                "hint": self.hint,
            }
        }


class MalformedRequest(RequestError):
    """400: not JSON, a field missing or of the wrong type, a number that is none."""

    status: ClassVar[int] = 400


class UnknownImage(RequestError):
    """409: the worker does not have the image any more, or never had it."""

    status: ClassVar[int] = 409

    def __init__(
        self,
        code: Code = "unknown_image",
        message: str = "This worker does not have the image.",
        *,
        field: str | None = "image_sha256",
        hint: str = "PUT the file to /images/{sha256} and send the request again, "
        "or send the file as `image`.",
    ) -> None:
        super().__init__(code, message, field=field, hint=hint)


class TooManyPixels(RequestError):
    """413: the image has more pixels than `IOG_MAX_PIXELS`, or `max_pixels` in Python, allows.

    Also where the file is too large for the cache that should keep it.
    """

    status: ClassVar[int] = 413


class NotAnImage(RequestError):
    """415: the bytes are not an image, or one too damaged to be read."""

    status: ClassVar[int] = 415


class UnusableRequest(RequestError):
    """422: understood, but it cannot lead to a mask (no box, a box outside the image, ...)."""

    status: ClassVar[int] = 422


class InternalError(RequestError):
    """500: a defect on our side. The cause belongs in the log, never in the answer."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        code: Code = "internal_error",
        message: str = "The function failed while it worked on this request.",
        *,
        field: str | None = None,
        hint: str = "The request may be fine; the log of the function says what happened.",
    ) -> None:
        super().__init__(code, message, field=field, hint=hint)


class SettingsError(ValueError):
    """A setting has a value the function cannot start with; the message is one clear sentence."""


class WeightsError(RuntimeError):
    """Weights are missing, damaged or of another network; the message is one clear sentence."""
