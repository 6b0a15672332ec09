"""The rectangles of CVAT's jobs: which want a mask, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from dataloaders.geometry import Box, turned_box
from iog.cvat.server import Server
from iog.errors import DatasetError

__all__ = ["Job", "Rectangle", "Scope", "jobs_of", "read_job", "rectangles"]

Scope = tuple[Literal["task", "project", "job"], int]

_KEPT: Final = ("frame", "label_id", "group", "z_order", "occluded", "attributes")
# Labels that take one kind of shape, and masks as well.
_TAKES_MASKS: Final = ("any", "mask")


@dataclass(frozen=True)
class Rectangle:
    """A rectangle that wants a mask: a shape, or a keyframe of a track."""

    number: int
    """Its id in CVAT, twice, and 1 more for a keyframe: CVAT counts shapes and keyframes apart."""
    box: Box
    """Image frame; for a turned rectangle the upright one around it."""
    label: str
    shape: dict[str, Any]
    """The fields of the new shape that are the rectangle's: frame, label, group, attributes..."""
    track: int | None = None
    """The id of its track."""

    @property
    def frame(self) -> int:
        """Number of its frame in the task."""
        frame: int = self.shape["frame"]
        return frame

    @property
    def name(self) -> str:
        """For messages."""
        return f"{'rectangle' if self.track is None else 'keyframe'} {self.number // 2}"


@dataclass(frozen=True)
class Job:
    """A job with its rectangles."""

    number: int
    task: int
    rectangles: tuple[Rectangle, ...]
    names: dict[int, str]
    """File names of frames, where there are any."""
    on_deleted_frames: int = 0
    """Rectangles that are left as they are because their frame is deleted."""
    refusing: frozenset[str] = frozenset()
    """Labels of rectangles that take no masks."""

    def frames(self) -> Iterator[tuple[int, list[Rectangle]]]:
        """Frames with their rectangles, in order."""
        by_frame: dict[int, list[Rectangle]] = {}
        for rectangle in self.rectangles:
            by_frame.setdefault(rectangle.frame, []).append(rectangle)
        yield from sorted(by_frame.items())


def jobs_of(server: Server, scope: Scope) -> list[int]:
    """The numbers of the jobs to work on.

    Of a task or project these are the jobs that annotators have. Ground truth and consensus
    replicas are read only if you name the job.

    Raises:
        DatasetError: there is no such thing, or it has no pictures.
    """
    kind, number = scope
    if kind == "job":
        return [number]
    server.retrieved(f"{kind}s", number)  # a list of jobs would be empty and say nothing
    listed = server.listed("jobs", **{f"{kind}_id": number})
    found = [int(job["id"]) for job in listed if job.get("type", "annotation") == "annotation"]
    if not found:
        raise DatasetError(f"{kind} {number} has no job that annotators work on.")
    return sorted(found)


def read_job(server: Server, number: int) -> Job:
    """A job with its rectangles.

    Raises:
        DatasetError: there is no such job, or it has no pictures.
    """
    about = server.retrieved("jobs", number)
    if about.get("dimension", "2d") != "2d":
        raise DatasetError(f"job {number} is of point clouds; masks need pictures.")
    labels = server.listed("labels", job_id=number)
    meta = server.retrieved("jobs", number, "data_meta")
    deleted = frozenset(meta.get("deleted_frames") or ())
    names = {int(label["id"]): str(label["name"]) for label in labels}
    found = sorted(
        rectangles(server.annotations(number), names), key=lambda each: (each.frame, each.number)
    )
    wanted = tuple(each for each in found if each.frame not in deleted)
    refusing = {label["name"] for label in labels if label.get("type", "any") not in _TAKES_MASKS}
    return Job(
        number,
        int(about["task_id"]),
        wanted,
        _file_names(about, meta),
        on_deleted_frames=len(found) - len(wanted),
        refusing=frozenset(each.label for each in wanted if each.label in refusing),
    )


def _file_names(about: dict[str, Any], meta: dict[str, Any]) -> dict[int, str]:
    """File names by frame; a video has one for all, which says nothing."""
    listed = meta.get("frames") or ()
    if about.get("mode") == "interpolation":
        return {}
    return {int(about["start_frame"]) + n: str(each["name"]) for n, each in enumerate(listed)}


def rectangles(annotations: dict[str, Any], labels: Mapping[int, str]) -> Iterator[Rectangle]:
    """The rectangles among a job's annotations; those of skeletons belong to their skeleton.

    Args:
        annotations: as ``Server.annotations`` gives them.
        labels: names by id; a missing one gives an empty name.
    """
    for shape in annotations["shapes"]:
        if shape["type"] == "rectangle":
            yield _rectangle(2 * shape["id"], shape, shape, labels)
    for track in annotations["tracks"]:
        for shape in track["shapes"]:
            if shape["type"] == "rectangle" and not shape["outside"]:
                # A track's attributes are split: what changes is the keyframe's.
                both = [*track["attributes"], *shape["attributes"]]
                fields = {**shape, "label_id": track["label_id"], "group": track["group"]}
                fields["attributes"] = both
                yield _rectangle(2 * shape["id"] + 1, shape, fields, labels, track=track["id"])


def _rectangle(
    number: int,
    shape: dict[str, Any],
    fields: dict[str, Any],
    labels: Mapping[int, str],
    *,
    track: int | None = None,
) -> Rectangle:
    kept = {name: fields[name] for name in _KEPT}
    kept["group"] = kept["group"] or 0
    kept["attributes"] = [
        {"spec_id": each["spec_id"], "value": each["value"]} for each in kept["attributes"]
    ]
    box = turned_box(tuple(shape["points"]), shape.get("rotation") or 0.0)
    return Rectangle(number, box, labels.get(fields["label_id"], ""), kept, track)
