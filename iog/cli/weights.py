"""`iog weights`: what models there are, and getting them onto this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iog.errors import INSTALL_TORCH, WeightsError
from iog.settings import Settings

if TYPE_CHECKING:
    from iog.models.spec import ModelSpec

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_Name = Annotated[str, typer.Argument(help="A name from `iog weights list`, or a path.")]


@app.command("list")
def list_() -> None:
    """Show every model, and whether its weights are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from iog.models.spec import REGISTRY, installed, locate

    settings = Settings.from_env()
    table = Table("name", "network", "weights", box=None, pad_edge=False)
    for spec in REGISTRY.values():
        path = locate(spec.name, weights_dir=settings.weights_dir)
        table.add_row(spec.name, spec.architecture, _state(spec, path))
    own = {name: _own(name, settings.weights_dir) for name in installed(settings.weights_dir)}
    for name, (architecture, state, _) in own.items():
        table.add_row(name, architecture, state)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    if own:
        console.print("\nYour own:")
    for name, (*_, about) in own.items():
        console.print(f"  {name}: {about}")
    console.print("\n`iog weights fetch NAME` downloads what is not here. Terms:")
    for spec in REGISTRY.values():
        console.print(f"  {spec.name}: {spec.licence}")


def _state(spec: ModelSpec, path: Path | None) -> str:
    if path is not None:
        return _here(path)
    return "not here" if spec.published else "missing"


def _here(path: Path) -> str:
    return f"here, {path.stat().st_size / 1e6:.1f} MB"


def _own(name: str, weights_dir: Path) -> tuple[str, str, str]:
    """Network, state and particulars of weights of your own, as their file states them."""
    from iog.models.spec import resolve

    try:
        from iog.models.checkpoint import read_checkpoint
    except ModuleNotFoundError:
        return "?", "here", f"torch reads it: {INSTALL_TORCH}"
    try:
        spec = resolve(name, weights_dir=weights_dir)
        found = read_checkpoint(spec)
    except WeightsError as error:
        return "?", "unusable", str(error)
    metrics, data = found.metadata.get("metrics"), found.metadata.get("data")
    spec = found.spec
    about = [f"crop to {spec.crop.input_size} pixels", f"threshold {spec.threshold:g}"]
    if isinstance(data, str) and data:
        about.append(f"trained on {data}")
    if isinstance(metrics, dict) and isinstance(metrics.get("iou"), float):
        about.append(f"IoU {metrics['iou']:.3f} in validation")
    return spec.architecture, _here(spec.file), ", ".join(about)


@app.command()
def install(
    file: Annotated[Path, typer.Argument(metavar="PATH", help="A checkpoint of a training.")],
    name: Annotated[str, typer.Option(help="What IOG_MODEL and --model shall call it.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Where to put it, such as the weights folder of a checkout to deploy "
            "[default: IOG_WEIGHTS_DIR].",
            file_okay=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace weights of that name.")] = False,
) -> None:
    """Put weights of your own beside the others, under a name."""
    from iog.models.checkpoint import install as install_weights

    folder = folder or Settings.from_env().weights_dir
    typer.echo(install_weights(file, name, folder=folder, force=force))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `iog weights list`.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE|URL", help="A mirror, or a file you have already."),
    ] = None,
) -> None:
    """Download published weights, once; an interrupted download goes on where it stopped."""
    from iog.models.spec import resolve, spec_of

    settings = Settings.from_env()
    spec = spec_of(name)
    if source is None and not spec.published:
        here = resolve(name, weights_dir=settings.weights_dir).file
        typer.echo(f"{name} comes with this project and is here already.", err=True)
        typer.echo(here)
        return

    # torch comes with this: a wrong name has been refused by now
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from iog.models.fetching import fetch as fetch_weights

    typer.echo(f"Fetching {spec.filename} ...", err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    task = bar.add_task(name, total=None)

    def progress(done: int, total: int | None) -> None:
        bar.start()  # not sooner: what is refused at once, or lies here, draws no bar
        bar.update(task, completed=done, total=total)

    try:
        path = fetch_weights(
            name,
            weights_dir=settings.weights_dir,
            source=source,
            sha256=settings.sha256_of(name),
            progress=progress,
        )
    finally:
        if bar.live.is_started:
            bar.stop()
    typer.echo(path)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names or paths [default: all that are on this machine]."),
    ] = None,
) -> None:
    """Read and hash weights, and check that they fit their network."""
    from iog.models.checkpoint import read_checkpoint
    from iog.models.files import sha256_of
    from iog.models.spec import REGISTRY, installed, locate, resolve

    settings = Settings.from_env()
    folder = settings.weights_dir
    present = [name for name in REGISTRY if locate(name, weights_dir=folder)]
    present += installed(folder)
    failed = False
    for name in names or present:
        try:
            asked = settings.sha256_of(name)
            spec = read_checkpoint(resolve(name, weights_dir=folder), sha256=asked).spec
            digest = sha256_of(spec.file)
        except WeightsError as error:
            failed = True
            typer.echo(f"{name}: {error}", err=True)
        else:
            standing = spec.standing(digest)
            if asked is not None:
                standing = "is the file IOG_WEIGHTS_SHA256 asks for"
            typer.echo(
                f"{name}: good; it {standing} ({spec.architecture}, "
                f"{spec.file.stat().st_size} bytes, sha256 {digest})."
            )
    if not names and not present:
        typer.echo("There are no weights on this machine; see `iog weights list`.", err=True)
    if failed or not (names or present):
        raise typer.Exit(1)


@app.command()
def path(name: _Name) -> None:
    """Print where the weights lie."""
    from iog.models.spec import resolve

    typer.echo(resolve(name, weights_dir=Settings.from_env().weights_dir).file)
