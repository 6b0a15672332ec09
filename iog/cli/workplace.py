"""Where `iog masks` does its work: in processes here, in actors of Ray, or at an address."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import typer

from iog.settings import Settings, available_cores

if TYPE_CHECKING:
    from iog.bulk.records import Mapper
    from iog.bulk.task import MaskTask
    from iog.bulk.url import UrlMapper

__all__ = ["Workplace"]

_REQUESTS: Final = 8


@dataclass(frozen=True)
class Workplace:
    """What the options say; checked when it is made.

    Raises:
        typer.BadParameter: two of them do not go together.
    """

    settings: Settings
    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    address: str | None = None
    actors: int | None = None
    gpus: float = 0.0
    url: str | None = None

    def __post_init__(self) -> None:
        """Refuse options that would do nothing."""
        if self.engine != "ray" and (self.address or self.actors or self.gpus):
            raise typer.BadParameter(
                "--address, --actors and --gpus are for Ray: give --engine ray.",
                param_hint="--engine",
            )
        if self.engine == "ray" and self.workers:
            raise typer.BadParameter("Ray has --actors.", param_hint="--workers")
        if self.url is not None:
            if self.engine == "ray":
                raise typer.BadParameter(
                    "the function does the work: leave --engine out.", param_hint="--url"
                )
            if not self.url.startswith(("http://", "https://")):
                raise typer.BadParameter(
                    "give an address that starts with http:// or https://.", param_hint="--url"
                )

    def about(self) -> dict[str, str]:
        """What the masks depend on here, for the journal.

        Raises:
            SettingsError: nothing answers at the address.
            WeightsError: the weights are missing.
        """
        if self.url is not None:
            with closing(self._function(self.url)) as function:
                # A function may move, so its address only stands for a model without a name.
                about = {"threshold": "the function's", **(function.about() or {"url": self.url})}
            if self.settings.threshold is not None:
                about["threshold"] = str(self.settings.threshold)
            return about
        return self._task().describe()

    def mapper(self) -> Mapper:
        """A new one, for the caller to close.

        Raises:
            SettingsError: what it needs is missing.
        """
        if self.url is not None:
            return self._function(self.url)
        if self.engine == "ray":
            from iog.bulk.ray_mapper import RayMapper

            return RayMapper(
                self._task(),
                threads=self._threads(),
                actors=self.actors,
                address=self.address,
                gpus=self.gpus,
            )
        from iog.bulk.local import LocalMapper

        return LocalMapper(self._task(), self.workers or available_cores())

    def _function(self, url: str) -> UrlMapper:
        from iog.bulk.url import UrlMapper

        return UrlMapper(url, requests=self.workers or _REQUESTS, threshold=self.settings.threshold)

    def _threads(self) -> int:
        """Of one worker: the cores divided, as `iog serve` does."""
        if self.settings.threads is not None:
            return self.settings.threads
        if self.engine == "ray":
            cores_known = self.address is None and self.actors is not None
            return max(1, available_cores() // (self.actors or 1)) if cores_known else 1
        return max(1, available_cores() // (self.workers or available_cores()))

    def _task(self) -> MaskTask:
        from iog.bulk.task import MaskTask

        settings = self.settings
        return MaskTask(
            settings.model,
            engine=settings.engine,
            precision=settings.precision,
            device=settings.device,
            threads=self._threads(),
            threshold=settings.threshold,
            weights_dir=settings.weights_dir,
            sha256=settings.weights_sha256,
            max_pixels=settings.max_pixels,
        )
