"""The application: which commands there are, and how an exception becomes a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from trtkit import __version__
from trtkit.cli import (
    bench,
    calibrate,
    compare,
    convert,
    doctor,
    export,
    inspect,
    models,
    optimize,
    report,
    study,
    validate,
)
from trtkit.cli.scaling import CutShortError
from trtkit.errors import EXIT_INTERRUPTED, EXIT_READER_LEFT, TrtkitError, UsageError

# Up to 0.28 typer's parser was click itself; since then it has exceptions of its own.
_ParserError: type[Any] = getattr(typer, "TyperException", None) or importlib.import_module("click").ClickException

__all__ = ["app", "main"]

_SYSTEM_SAYS_NO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)

app = typer.Typer(
    name="trtkit",
    help="Turn an ONNX model into a TensorRT plan, prove that the plan is right, and measure it.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(convert.convert)
app.command()(calibrate.calibrate)
app.command()(optimize.optimize)
app.command()(validate.validate)
app.command()(bench.bench)
app.command()(study.study)
app.command()(report.report)
app.command()(compare.compare)
app.command()(inspect.inspect)
app.command()(export.export)
app.command()(models.models)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trtkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code (see :mod:`trtkit.errors`) instead of leaving the process.

    A bug is not caught: its traceback is what we need to mend it, and Python's exit code for it is 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    refuse = partial(_refuse, as_json="--json" in arguments, verbose=not {"--verbose", "-v"}.isdisjoint(arguments))
    kept = ""  # what an interrupted command says of its results
    try:
        result: Any = app(args=arguments, prog_name="trtkit", standalone_mode=False, obj=("trtkit", *arguments))
    except TrtkitError as error:
        return refuse(error)
    except _ParserError as error:
        known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
        hint = f"Run trtkit {arguments[0]} --help." if arguments[0] in known else "Run trtkit --help."
        return refuse(UsageError(error.format_message(), hint=hint))
    except OSError as error:
        if error.errno not in _SYSTEM_SAYS_NO:
            raise
        where = f": {error.filename}" if error.filename else ""
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        refused = UsageError(
            f"The system refuses to read or write a file: {error.strerror}{where}.",
            hint=f"{'Check the permissions' if denied else 'Free space'}, or choose another folder.",
        )
        return refuse(refused)
    except SystemExit:  # typer's answer to a closed pipe (`trtkit models | head -1`); nothing here leaves by itself
        return EXIT_READER_LEFT
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    except CutShortError as error:
        result, kept = EXIT_INTERRUPTED, str(error)
    if result == EXIT_INTERRUPTED and not _later_rank():
        from trtkit.ranks.guard import tell_terminal

        text = f"interrupted: {kept or 'nothing half-written was left behind'}"
        if not tell_terminal(text):
            print(text, file=sys.stderr)
    return result if isinstance(result, int) else 0


def _refuse(error: TrtkitError, *, as_json: bool, verbose: bool) -> int:
    from trtkit.cli.console import show_error

    if as_json and not _later_rank():
        document = {key: value for key, value in error.to_wire().items() if key != "log"}
        print(json.dumps({"error": {**document, "exit_code": error.exit_code}}))
    show_error(error, verbose=verbose)
    return error.exit_code


def _later_rank() -> bool:
    """Whether a launcher started this process as another rank than 0: rank 0 speaks for all."""
    from trtkit.ranks import find

    try:
        return find().rank > 0
    except UsageError:
        return False
