"""What all commands share: where output goes, and how errors end."""

import contextlib
import errno
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from kd_models.data import DataError
from kd_models.export.errors import ExportError
from kd_models.methods.base import WeightsError
from kd_models.methods.registry import MethodError
from kd_score.errors import PackageError
from orchestrator.console import PLAIN_WIDTH, Say, console
from orchestrator.errors import UserError

JsonFlag = Annotated[
    bool,
    typer.Option("--json", help="One line of JSON on standard output, everything else on error."),
]
DebugFlag = Annotated[
    bool, typer.Option("--debug", help="After an error, show where in the program it arose.")
]


@dataclass(frozen=True)
class Answer:
    """What a command has to say on standard output: for a program, or for a person."""

    data: Any
    text: RenderableType
    exit_code: int = 0


def respond(work: Callable[[Console, Say], Answer], as_json: bool, debug: bool) -> None:
    """Do the work and print its answer; any error ends in one line with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding, or a name that is not UTF-8, is no reason to die.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    log = console(stderr=True, soft_wrap=True)

    # Whatever libraries print belongs to the log: standard output is for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = work(log, log.print)
        except KeyboardInterrupt:
            log.print("interrupted; the same command goes on from here", style="red")
            raise typer.Exit(130) from None
        except Exception as error:
            if debug:
                import traceback

                log.print("".join(traceback.format_exception(error)))
            log.print(f"error: {in_words(error)}", style="red")
            raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(answer.data))
    elif isinstance(answer.text, str):
        print(answer.text)  # not by rich, which would wrap lines and turn tabs into spaces
    else:
        out = console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        out.print(answer.text)
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)


_REMEDIES = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EACCES: "change its permissions, or give another place",
    errno.EPERM: "change its permissions, or give another place",
    errno.EROFS: "give a place that can be written",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
}


_SAY_IT = (UserError, DataError, PackageError, WeightsError, MethodError, ExportError)
"""errors whose message says what went wrong, and what to do"""


def in_words(error: Exception) -> str:
    """Say what went wrong, and what to do."""
    if isinstance(error, _SAY_IT):
        return str(error)
    what = " ".join(str(error).split())
    remedy = "run it again with --debug to see where it arose; what is finished is kept"
    if isinstance(error, OSError):
        # Its name is the operating system's: without the trace, strerror and file say more.
        what = f"{error.filename}: {error.strerror}" if error.filename else what
        remedy = f"{_REMEDIES.get(error.errno or 0, 'put that right')}, or {remedy}"
    elif isinstance(error, MemoryError):
        remedy = f"use a machine with more memory, or smaller batches; or {remedy}"
    elif (type(error).__module__ or "").startswith("mlflow"):
        remedy = f"see whether MLflow is well (its server, disk and database), or {remedy}"
    return f"{type(error).__name__}: {what[:1000]}; {remedy}"
