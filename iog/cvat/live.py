"""`iog masks --cvat`: what would be done to a server's jobs, and doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from iog.bulk.journal import Journal
from iog.bulk.records import ImageOutcome, Mapper
from iog.bulk.run import make_masks
from iog.cvat.masks import JobMasks, Stored
from iog.cvat.rectangles import Scope, jobs_of, read_job
from iog.cvat.server import Server
from iog.errors import SettingsError

__all__ = ["Plan", "apply", "journal_path", "look"]


@dataclass
class Plan:
    """What there is to do."""

    scope: Scope
    jobs: list[int] = field(default_factory=list)
    """Those with rectangles that want a mask."""
    numbers: list[int] = field(default_factory=list)
    """Of these rectangles."""
    labels: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    keyframes: int = 0
    tracks: int = 0
    on_deleted_frames: int = 0
    refusing: set[str] = field(default_factory=set)

    def lines(self, *, replace: bool) -> Iterator[str]:
        """The plan in sentences."""
        kind, number = self.scope
        shapes = len(self.numbers) - self.keyframes
        yield (
            f"{kind} {number}: {shapes:,} rectangles and {self.keyframes:,} keyframes of "
            f"{self.tracks:,} tracks want a mask, in {self.frames:,} frames of {len(self.jobs):,} "
            "jobs."
        )
        for label, count in sorted(self.labels.items()):
            yield f"  {label}: {count:,}"
        if self.on_deleted_frames:
            yield f"{self.on_deleted_frames:,} on deleted frames are left as they are."
        if not replace:
            yield "The masks are added. Everything else stays as it is."
            return
        yield "Each rectangle is deleted once its mask is stored, and each track once all its are."
        if self.tracks:
            yield "The boxes that CVAT interpolates between keyframes go with their track."

    def check(self) -> None:
        """Refuse what CVAT's editor would not let an annotator do.

        Raises:
            SettingsError: labels take no masks; the sentence says what to do.
        """
        if self.refusing:
            raise SettingsError(
                f"Labels that take no masks: {', '.join(sorted(self.refusing))}. In CVAT open the "
                "label's raw form (project or task, tab Raw), set its type to "
                '"any", save, and give the same command again. Nothing was changed.'
            )


def look(server: Server, scope: Scope) -> Plan:
    """Read the jobs and see what there is to do; changes nothing.

    Raises:
        DatasetError: there is no such thing, or the server does not answer.
    """
    plan = Plan(scope)
    for number in jobs_of(server, scope):
        job = read_job(server, number)
        plan.on_deleted_frames += job.on_deleted_frames
        plan.refusing |= job.refusing
        if not job.rectangles:
            continue
        plan.jobs.append(number)
        plan.numbers += [each.number for each in job.rectangles]
        plan.labels.update(each.label for each in job.rectangles)
        plan.frames += sum(1 for _ in job.frames())
        plan.keyframes += sum(each.track is not None for each in job.rectangles)
        plan.tracks += len({each.track for each in job.rectangles} - {None})
    return plan


def apply(
    server: Server,
    plan: Plan,
    mapper: Mapper,
    journal: Journal,
    *,
    replace: bool,
    done: Callable[[ImageOutcome], object],
) -> Stored:
    """Make the masks and store them, job by job.

    Raises:
        SettingsError, WeightsError, DatasetError, OSError, ValueError: it stopped there. The same
            again goes on: the journal has the masks that are made, the server those that are
            stored.
    """
    total = Stored()
    for number in plan.jobs:
        # Read again: an earlier job may have taken hours.
        job = JobMasks(server, read_job(server, number), replace=replace)
        make_masks(job, job, mapper, journal, done=done)
        total += job.stored
    return total


def journal_path(server: Server, scope: Scope) -> Path:
    """Where the journal of a run lies: in this folder, with a name of its own."""
    host = urlsplit(server.url).netloc.replace(":", "-")
    return Path(f"cvat-{host}-{scope[0]}-{scope[1]}.journal")
