"""What the verbs share: common options, consoles, JSON output; no verb's own rendering."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import IO, Annotated, Any

import typer
from rich.console import Console

PIPE_WIDTH = 200
"""Characters in a line of a table that goes to a file or a pipe: nothing is cut there."""

SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep in the store.")
]
TrialArgument = Annotated[
    str, typer.Argument(metavar="TRIAL", help="A trial's id, or its beginning.")
]
SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep", metavar="SWEEP", help="Its sweep, a file or name; by default any in the store."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="Where results are: a folder or a URI. Default: what the sweep file says, else "
        "FANFLARE_STORE, else ./fanflare-store.",
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="PROFILE",
        envvar="FANFLARE_CLUSTER",
        help="The profile of a cluster; by default this machine.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="MLflow's tracking URI. Default: what the sweep file says, else a SQLite file in "
        "the sweep's own folder.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@cache
def stdout() -> Console:
    """Return the console of results; bound to the stream that was there at the start."""
    return _console(sys.stdout)


@cache
def stderr() -> Console:
    """Return the console of progress and errors."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    if stream.isatty():
        return Console(file=stream)
    return Console(file=stream, width=PIPE_WIDTH, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print plain data as JSON, and nothing else, to standard output."""
    sys.stdout.write(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    """Return plain data with null in place of numbers that JSON does not have."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def command_line(*words: str, **options: str | None) -> str:
    """Return a command to suggest; options without a value are left out."""
    given = [(f"--{name.replace('_', '-')}", value) for name, value in options.items() if value]
    return shlex.join(["fanflare", *words, *(word for pair in given for word in pair)])


def print_hint(text: str, **style: Any) -> None:
    """Print a line that holds a command, unbroken so that it can be copied."""
    stdout().print(text, soft_wrap=True, markup=False, highlight=False, **style)


def print_waiting(text: str) -> None:
    """Say on the console of progress what is waited for."""
    stderr().print(text, style="dim", markup=False, highlight=False)


def print_changed(sweep: str, changed_since: float | None, *, is_past: bool) -> None:
    """Say on the console of progress whether the trials of a sweep are others than it ran with.

    Args:
        sweep: The sweep's name.
        changed_since: Unix time of its last run, where they are.
        is_past: Whether what is shown is of that run.
    """
    if changed_since is None:
        return
    ran = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed_since))
    text = (
        f"What sweep {sweep!r} names has changed since its run of {ran}, whose results these are; "
        "`fanflare run` computes those of now."
        if is_past
        else f"Sweep {sweep!r} has other trials now than in its run of {ran}, which MLflow shows; "
        "this is what the store has of those of now, and `fanflare run` computes what is missing."
    )
    stderr().print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def format_duration(seconds: float) -> str:
    """Return seconds as people say them: `48s`, `3m 20s`, `2h 05m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02d}s"
    return f"{total // 3600}h {total % 3600 // 60:02d}m"
