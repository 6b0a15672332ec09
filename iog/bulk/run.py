"""The loop of `iog masks`: from a source through a mapper into the journal, and from there out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from iog.bulk.journal import Journal
from iog.bulk.records import BoxedImage, Failure, ImageOutcome, Mapper, Sink, Source

__all__ = ["Summary", "make_masks"]


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    made: int
    """Objects that have got a mask."""
    failed: int
    """Objects that have got none."""
    lacking: str = ""
    """What of the input the output lacks, as a sentence."""


def make_masks(
    source: Source,
    sink: Sink,
    mapper: Mapper,
    journal: Journal,
    *,
    done: Callable[[ImageOutcome], object],
) -> Summary:
    """Make the masks that the journal does not have yet, then write the output.

    Args:
        source, sink, mapper, journal: see there.
        done: called after an image's outcomes are safe.

    Raises:
        SettingsError, WeightsError, DatasetError, OSError, ValueError: nothing can be made, or
            written; the journal keeps what is finished.
    """
    for outcome in mapper.map(_wanted(source, journal, done)):
        journal.add(outcome)
        done(outcome)
    lacking = sink.write(journal)
    return Summary(*journal.counts(), lacking or "")


def _wanted(
    source: Source, journal: Journal, done: Callable[[ImageOutcome], object]
) -> Iterator[BoxedImage]:
    """The images with the objects that have no outcome; what cannot be is settled here."""
    for image in source.images():
        objects = tuple(each for each in image.objects if each.number not in journal)
        impossible = [each for each in objects if each.problem]
        if impossible:
            outcomes = tuple((each.number, Failure(each.problem)) for each in impossible)
            outcome = ImageOutcome(image, outcomes)
            journal.add(outcome)
            done(outcome)
        objects = tuple(each for each in objects if not each.problem)
        if objects:
            yield replace(image, objects=objects)
