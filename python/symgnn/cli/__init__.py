"""The ``symgnn`` command.

Each verb is one file of this package with a function of the same name (``import-dataset`` is
``import_dataset`` in ``import_dataset.py``). A verb imports torch and the like inside its function,
so that ``symgnn --help`` answers at once, and raises SymGNNError for what a user can put right.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import importlib.util
import os
import re
import signal
import sys
import traceback
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from symgnn.cli.options import join_values
from symgnn.errors import Interrupted, SymGNNError

VERBS: Final = (
    "annotate",
    "info",
    "train",
    "evaluate",
    "topology",
    "export",
    "plot",
    "report",
    "check",
    "label",
    "challenge",
    "explain",
    "benchmark",
    "import-dataset",
    "quench",
    "sample",
    "potential",
)
"""In the order of ``symgnn --help``."""

OK, FAILED, WRONG_USAGE = 0, 1, 2
_OF_MEMORY = re.compile("allocate memory|out of memory")
"""What torch says, which raises RuntimeError."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Group(TyperGroup):
    """A group of verbs that lets ``main`` decide how errors look."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, join_values(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would turn it into exit code 130
            raise Interrupted("interrupted") from None


app = typer.Typer(
    cls=_Group,
    name="symgnn",
    help="Per-atom energy barriers of metallic glasses.",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"symgnn {importlib.metadata.version('symgnn')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; for any verb.")
    ] = False,
) -> None:
    """Per-atom energy barriers of metallic glasses."""


for _verb in VERBS:
    _name = _verb.replace("-", "_")
    if importlib.util.find_spec(f"symgnn.cli.{_name}") is None:
        continue
    _module = importlib.import_module(f"symgnn.cli.{_name}")
    _function = getattr(_module, _name)
    if isinstance(_function, typer.Typer):  # a verb with verbs of its own
        app.add_typer(_function, name=_verb)
    else:
        app.command(_verb)(_function)


# typer carries its own copy of click or uses the installed one, depending on its version.
_UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])


def run(arguments: list[str]) -> int:
    """Run one command line (without the program's name) and give its exit code.

    0: done. 1: failed, with the reason in one line on standard error. 2: wrong usage.
    ``--debug`` anywhere on the line shows the traceback as well.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(args=arguments or ["--help"], prog_name="symgnn", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        _complain(_usage_message(error))
        return WRONG_USAGE
    except BrokenPipeError:
        # The reader of our output went away, as in `symgnn … | head`.
        _drop_standard_output()
        return FAILED
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError):
            _drop_standard_output()
        _complain(reason)
        return FAILED
    return code if isinstance(code, int) else OK


def main() -> None:
    """Entry point of the ``symgnn`` program."""
    # The time limit of a batch system: leave like after an error, so that nothing temporary stays.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(run(sys.argv[1:]))


def _reason(error: Exception) -> str | None:
    """What a user can put right; None for a bug, whose traceback is wanted."""
    if isinstance(error, SymGNNError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        # Files say themselves that they cannot be written, so this is standard output.
        return f"cannot write standard output: {error.strerror}; free space or use another disk"
    of_torch = isinstance(error, RuntimeError) and _OF_MEMORY.search(str(error))
    if of_torch or isinstance(error, MemoryError):
        return (
            "there is too little memory: choose less at a time (fewer or smaller structures, a"
            " shorter cutoff, a smaller batch_size or chunk), or a larger machine"
        )
    return None


def _drop_standard_output() -> None:
    """Python would complain again when it flushes the rest at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_message(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "symgnn"
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"symgnn: {line}", file=sys.stderr)
