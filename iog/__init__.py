"""Inside-Outside Guidance: interactive segmentation from a box and clicks.

    import iog

    model = iog.load("iog-lite")
    model.set_image("photo.jpg")
    mask = model.predict(box=(5, 4, 370, 512), point_coords=[(190, 320)], point_labels=[1])

Nothing is imported before it is used: torch and OpenCV take a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iog.errors import (
        NotAnImage,
        RequestError,
        SettingsError,
        TooManyPixels,
        UnusableRequest,
        WeightsError,
    )
    from iog.image import Image
    from iog.masks import Mask, Masks
    from iog.predictor import Predictor, load
    from iog.prompts import Prompt

__all__ = [
    "Image",
    "Mask",
    "Masks",
    "NotAnImage",
    "Predictor",
    "Prompt",
    "RequestError",
    "SettingsError",
    "TooManyPixels",
    "UnusableRequest",
    "WeightsError",
    "__version__",
    "load",
]

__version__ = "0.1.0"

_HOMES = {
    "Image": "image",
    "Mask": "masks",
    "Masks": "masks",
    "NotAnImage": "errors",
    "Predictor": "predictor",
    "Prompt": "prompts",
    "RequestError": "errors",
    "SettingsError": "errors",
    "TooManyPixels": "errors",
    "UnusableRequest": "errors",
    "WeightsError": "errors",
    "load": "predictor",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has that name
    if name not in _HOMES:
        raise AttributeError(f"module 'iog' has no attribute {name!r}")
    return getattr(import_module(f"iog.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
