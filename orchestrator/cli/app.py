"""The command `fanflare`: its verbs, and the boundary at which errors become exit codes."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from pathlib import Path

import typer

from cluster.artifact import StoreError
from orchestrator.cli import (
    cancel,
    catalog,
    diff,
    doctor,
    export,
    logs,
    manifest,
    plan,
    pull,
    report,
    retry,
    run,
    schema,
    status,
    submit,
    sync,
    ui,
    verify,
)
from orchestrator.cli.console import stderr
from orchestrator.cli.standing import EXIT_SOME_FAILED
from orchestrator.errors import FanflareError

EXIT_BAD_INPUT = 2

app = typer.Typer(
    help="One YAML file sweeps foundation models over downstream tasks, methods, hyperparameters "
    "and seeds; Ray runs it, MLflow shows the comparison.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (
    plan,
    run,
    submit,
    status,
    logs,
    cancel,
    retry,
    pull,
    manifest,
    report,
    diff,
    verify,
    export,
    sync,
    ui,
    catalog,
    schema,
    doctor,
):
    app.command(verb.NAME)(getattr(verb, verb.NAME))


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"fanflare {version('fanflare')}\n")
        raise typer.Exit


@app.callback()
def _options(
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    del show_version


def main() -> None:
    """Run the command line and exit.

    The codes are 0 all finished, 1 some trials failed, 2 bad input, 130 interrupted.
    """
    sys.path.append(str(Path.cwd()))  # where a pipeline of the user's own lies
    try:
        app()  # typer makes 130 of Ctrl-C
    except (FanflareError, StoreError) as error:
        stderr().print(str(error), style="red", markup=False, highlight=False)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = f"{error.strerror}: what is finished is kept; make room, then run it again"
        stderr().print(text, style="red", markup=False, highlight=False)
        sys.exit(EXIT_SOME_FAILED)
