"""`iog`: the command line.

    iog serve       answer requests over HTTP on this machine
    iog predict     segment one object in one image
    iog masks       make a mask for every box of a data set
    iog evaluate    score a model over a data set
    iog bench       measure what a click costs
    iog export      write models for OpenVINO
    iog train       train or fine-tune a network
    iog size        how many replicas a number of annotators needs
    iog weights     list, fetch, check and install the models' weights

Whatever goes wrong is one sentence on stderr and an exit status that is not 0.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

# By module: a function of its module's name would hide it from whoever imports iog.cli.NAME.
from iog.cli import bench, evaluate, export, masks, predict, serve, size, train, weights
from iog.errors import (
    INSTALL_TORCH,
    DatasetError,
    MalformedRequest,
    RequestError,
    SettingsError,
    WeightsError,
)
from iog.settings import unknown_variables

__all__ = ["app", "main"]

_OPTIONS: Final = {
    "image": "The image",
    "obj_bbox": "--box",
    "pos_points": "--point",
    "neg_points": "--negative",
    "threshold": "--threshold",
    "form": "--form",
    "tolerance": "--tolerance",
    "largest": "--largest",
    "fill_holes": "--fill-holes",
}
_HINTS: Final = {
    "image": "Give an image file.",
    "obj_bbox": "Give two corners in image pixels, such as --box 120,80,430,390.",
    "pos_points": "Give a place in image pixels, such as --point 260,240.",
    "neg_points": "Give a place in image pixels, such as --negative 260,240.",
    "threshold": "Give a probability, such as --threshold 0.5, or leave the option out.",
}
"""In place of the hints that show JSON."""
_FIELD: Final = re.compile(rf"`({'|'.join(_OPTIONS)})(?:\[\d+\])*`")


class _Sentences(TyperGroup):
    """Turns the errors of every command into sentences."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as in typer
        try:
            return super().invoke(ctx)
        except (TyperException, typer.Exit, typer.Abort):  # typer's own: usage, --help, Ctrl-C
            raise
        except RequestError as error:
            text = _in_words(error)
        except (SettingsError, WeightsError, DatasetError) as error:
            text = str(error)
        except ModuleNotFoundError as error:
            if ctx.params["debug"]:
                raise
            # What serving needs is there, or `iog` would not start: the rest comes with torch.
            text = f"This needs {error.name}: {INSTALL_TORCH}."
        except OSError as error:
            text = _os_sentence(error)
        except Exception as error:
            if ctx.params["debug"]:
                raise
            text = f"{type(error).__name__}: {error} (iog --debug COMMAND shows where)"
        typer.echo(f"Error: {text}", err=True)
        raise typer.Exit(1)


def _in_words(error: RequestError) -> str:
    """What was wrong and what to give instead; options stand in place of a request's fields."""
    message = _FIELD.sub(lambda found: _OPTIONS[found[1]], error.message)
    field = (error.field or "").partition("[")[0]
    hint = _HINTS.get(field, error.hint) if isinstance(error, MalformedRequest) else error.hint
    hint = re.sub(r"^Send\b", "Give", hint)
    hint = hint.replace("leave the field out", "leave the option out")
    for elsewhere in (", base64-encoded", " on the server"):
        hint = hint.replace(elsewhere, "")
    return f"{message} {hint}".rstrip()


def _os_sentence(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iog {importlib.metadata.version('iog-nuclio')}")
        raise typer.Exit


app = typer.Typer(cls=_Sentences, no_args_is_help=True, rich_markup_mode=None, add_completion=False)
app.command()(serve.serve)
app.command()(predict.predict)
app.command()(masks.masks)
app.command()(evaluate.evaluate)
app.command()(bench.bench)
app.command()(export.export)
app.command()(train.train)
app.command()(size.size)
app.add_typer(weights.app, name="weights", help="List, fetch and check the models' weights.")


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Inside-Outside Guidance: a box and clicks in, a mask out."""
    if context.invoked_subcommand != "serve":  # there the function's own log tells
        for sentence in unknown_variables():
            typer.echo(f"Warning: {sentence}", err=True)


def main() -> None:
    """Run the command line; the entry point of `iog`."""
    # OpenMP reads it once, as torch is imported: threads that wait sleep, and do not take turns
    # on the processor from those that work. What the command starts inherits it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
