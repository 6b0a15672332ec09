"""`iog masks`: every box of a data set becomes a mask."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from iog.cli.workplace import Workplace
from iog.errors import SettingsError
from iog.settings import Settings

if TYPE_CHECKING:
    from iog.bulk.journal import Journal
    from iog.bulk.records import Mapper, Sink, Source
    from iog.cvat.rectangles import Scope

__all__ = ["masks"]

_SOME_FAILED = 3
_INTERRUPTED = 130
_LISTED = 50


def masks(
    coco: Annotated[
        Path | None,
        typer.Option(help="A COCO file with boxes.", exists=True, dir_okay=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="The folder that the file's image names start from.", file_okay=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FORM:PATH[,IMAGES]",
            help="Boxes of another form: coco, cvat, cvat-masks, voc or yolo; a folder, a zip "
            "archive, or the JSON or XML file. Their images, if they are elsewhere.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file or folder to write; a name in .zip is an archive."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="coco|cvat-masks|yolo",
            help="With --data: the form to write [default: the form that was read; cvat-masks for "
            "voc].",
        ),
    ] = None,
    form: Annotated[
        Literal["rle", "polygon"],
        typer.Option(metavar="rle|polygon", help="The form of the masks: exact, or outlines."),
    ] = "rle",
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Pixels by which outlines may be simplified; 0 is exact [default: 1]."
        ),
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Make new masks for objects that have one, too.")
    ] = False,
    points_field: Annotated[
        str | None,
        typer.Option(
            help="Key of an annotation's clicks, [x, y] or [x, y, 1 object or 0 background] each "
            "[default: its visible keypoints]."
        ),
    ] = None,
    cvat: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A CVAT server instead of files: masks for its rectangles. Shows what it would "
            "do; --apply does it.",
        ),
    ] = None,
    cvat_task: Annotated[
        int | None, typer.Option("--task", help="With --cvat: number of a task.")
    ] = None,
    project: Annotated[int | None, typer.Option(help="With --cvat: number of a project.")] = None,
    job: Annotated[int | None, typer.Option(help="With --cvat: number of a job.")] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="With --cvat: delete each rectangle once its mask is stored."
        ),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="With --cvat: make the masks and store them.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Name or path of the weights [default: IOG_MODEL].")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            metavar="local|ray",
            help="Where the work is done; what runs the network there says IOG_ENGINE.",
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes here [default: one for each core]; with --url, requests at a time "
            "[default: 8].",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="With --engine ray: a cluster, or auto [default: Ray on this machine]."),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(min=1, help="With --engine ray: how many [default: one for each core]."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="With --engine ray: GPUs of each actor, such as 0.5.")
    ] = 0.0,
    url: Annotated[
        str | None,
        typer.Option(help="A deployed function, or iog serve, that makes the masks instead."),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write contact sheets of the masks that this run makes, lowest score first: "
            "open DIR/index.html.",
        ),
    ] = None,
) -> None:
    """Make a mask for every box of a data set.

    A run that is broken off goes on where it was when you give the same command again. The exit
    status is 0, 3 if some objects have got no mask (they are listed), 1 if nothing could be done.

    Examples: iog masks --coco boxes.json --images photos --out masks.json

    iog masks --data cvat:export.zip --out masks.zip
    """
    if url is not None and model is not None:
        raise typer.BadParameter(
            "the function at --url has a model of its own: leave it out.", param_hint="--model"
        )
    place = Workplace(
        Settings.from_env().with_model(model), engine, workers, address, actors, gpus, url
    )
    if review is not None:
        _check_review(review)
    server_only = {
        "task": cvat_task, "project": project, "job": job, "replace": replace, "apply": apply
    }  # fmt: skip
    files_only = {
        "images": images, "to": to, "tolerance": tolerance, "redo": redo,
        "points-field": points_field,
    }  # fmt: skip
    if cvat is not None:
        _refuse("CVAT shows its masks itself: leave it out with --cvat.", {"review": review})
        scope = _scope(task=cvat_task, project=project, job=job)
        if coco is not None or data is not None or out is not None:
            raise typer.BadParameter(
                "it reads and writes the server, no files.", param_hint="--cvat"
            )
        _refuse("it is for files: leave it out with --cvat.", files_only)
        return _live(cvat, scope, place, replace=replace, apply=apply)
    _refuse("it belongs to --cvat.", server_only)
    if coco is not None and data is not None:
        raise typer.BadParameter("give one of --coco and --data.", param_hint="--coco")
    if (coco is None and data is None) or out is None or (coco is not None and images is None):
        raise typer.BadParameter(
            "give --coco, --images and --out, or --data and --out.", param_hint="--coco"
        )
    if images is not None and (data is not None or not images.is_dir()):
        told = (
            "belongs to --coco: write --data FORM:PATH,IMAGES" if data else f"{images} is no folder"
        )
        raise typer.BadParameter(f"{told}.", param_hint="--images")
    if data is None:
        _refuse("it belongs to --data.", {"to": to})
    if form == "rle" and (to or (data or "").partition(":")[0]) != "yolo":
        _refuse("--form rle is exact: give --form polygon, or leave it out.",
                {"tolerance": tolerance})  # fmt: skip

    from iog.bulk.journal import Journal
    from iog.forms import Options, coco_file, open_form

    path = _journal_of(out)
    with _interruptible():
        about = place.about()
        options = Options(form, 1.0 if tolerance is None else tolerance, redo, points_field)
        file, sink = (
            open_form(data, out, to=to, options=options)
            if data is not None
            else coco_file(cast("Path", coco), cast("Path", images), out, options)
        )
        typer.echo(f"{file.count():,} objects want a mask, {file.kept:,} are kept.", err=True)
        with closing(Journal(path, {**file.describe(), **about})) as journal:
            lacking = _run(file, sink, place.mapper(), journal, bar=place.engine != "ray")
            typer.echo(f"Wrote {out}", err=True)
            if lacking:
                typer.echo(lacking, err=True)
            if review is not None:
                _review(review, file, journal, place)
            failed = _tell_failures(journal)
            journal.remove()
    if failed:
        typer.echo(_again(None if redo else coco, images, out), err=True)
        raise typer.Exit(_SOME_FAILED)


def _refuse(told: str, options: Mapping[str, object]) -> None:
    """Refuse options that were given and would do nothing."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise typer.BadParameter(told, param_hint=f"--{name}")


def _again(coco: Path | None, images: Path | None, out: Path) -> str:
    """How to go on when what has failed is mended."""
    if coco is None:
        return "When that is mended, give the command again with another --out."
    again = out.with_name(f"again{out.suffix}")
    words = ["iog", "masks", "--coco", out, "--images", images, "--out", again]
    command = shlex.join(map(str, words))
    return (
        "When that is mended, this makes only what is missing; add what other options you gave:\n"
        f"{command}"
    )


def _scope(**numbers: int | None) -> Scope:
    """The one of task, project and job that was given."""
    given = [(kind, number) for kind, number in numbers.items() if number is not None]
    if len(given) != 1:
        raise typer.BadParameter(
            "with --cvat, give one of --task, --project and --job.", param_hint="--task"
        )
    return cast("Scope", given[0])


def _live(server_url: str, scope: Scope, place: Workplace, *, replace: bool, apply: bool) -> None:
    """Show what there is to do on a server, and do it if asked."""
    try:
        from iog.cvat import live
        from iog.cvat.server import connect
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--cvat needs {error.name}: install it with `pip install -r requirements-agent.txt`."
        ) from None
    from iog.bulk.journal import Journal
    from iog.bulk.progress import Progress

    server = connect(server_url)
    plan = live.look(server, scope)
    for line in plan.lines(replace=replace):
        typer.echo(line)
    plan.check()
    if not apply:
        typer.echo("Nothing was changed. Give --apply to do it.")
        return
    about = {"server": server.url, scope[0]: str(scope[1]), **place.about()}
    path = live.journal_path(server, scope)
    with _interruptible(), closing(Journal(path, about)) as journal:
        known = sum(number in journal for number in plan.numbers)
        with (
            _told(journal),
            closing(place.mapper()) as mapper,
            Progress(len(plan.numbers), known, bar=place.engine != "ray") as progress,
        ):
            stored = live.apply(server, plan, mapper, journal, replace=replace, done=progress.done)
        typer.echo(stored.sentence(), err=True)
        failed = _tell_failures(journal)
        journal.remove()
    if failed or stored.changed:
        raise typer.Exit(_SOME_FAILED)


def _check_review(folder: Path) -> None:
    from iog.bulk.review import check_folder

    check_folder(folder)


def _review(folder: Path, source: Source, journal: Journal, place: Workplace) -> None:
    """Write the contact sheets."""
    from iog.bulk.review import write_review

    page = write_review(folder, source, journal, max_pixels=place.settings.max_pixels)
    typer.echo(f"To review the masks, open {page}", err=True)


def _journal_of(out: Path) -> Path:
    """Where the journal of an output lies."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"{out.parent} is no folder: make it first.", param_hint="--out")
    path = out.with_name(out.name + ".journal")
    if out.exists() and not path.exists():
        raise typer.BadParameter(
            f"{out} is there already: give another name, or move it away.", param_hint="--out"
        )
    return path


def _run(source: Source, sink: Sink, mapper: Mapper, journal: Journal, *, bar: bool = True) -> str:
    """Make what is missing and write all of it, with progress; returns what the output lacks."""
    from iog.bulk.progress import Progress
    from iog.bulk.run import make_masks

    known = len(journal)
    with (
        _told(journal),
        closing(mapper),
        Progress(source.count(), known, bar=bar) as progress,
    ):
        return make_masks(source, sink, mapper, journal, done=progress.done).lacking


@contextmanager
def _told(journal: Journal) -> Iterator[None]:
    """Says what is finished, before and when the block is broken off."""
    if known := len(journal):
        typer.echo(f"{known:,} of them were finished before.", err=True)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"{len(journal):,} objects are finished.", err=True)
        raise


def _tell_failures(journal: Journal) -> int:
    """List what has got no mask; returns how many."""
    made, failed = journal.counts()
    typer.echo(f"{made:,} masks made, {failed:,} failed.", err=True)
    for number, (name, reason) in enumerate(journal.failures()):
        if number == _LISTED:
            typer.echo(f"... and {failed - _LISTED:,} more.", err=True)
            break
        typer.echo(f"{name}: {reason}", err=True)
    return failed


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block in order, and the command with a sentence."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. Give the same command again to go on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
