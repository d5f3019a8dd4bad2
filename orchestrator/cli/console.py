"""What the verbs share: common options, consoles, JSON output; no verb's own rendering."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Annotated, Any

import typer
from rich.console import Console

SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep in the store.")
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
    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())


@cache
def stderr() -> Console:
    """Return the console of progress and errors."""
    return Console(file=sys.stderr, soft_wrap=not sys.stderr.isatty())


def print_json(content: Any) -> None:
    """Print plain data as JSON, and nothing else, to standard output."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def format_duration(seconds: float) -> str:
    """Return seconds as people say them: `48s`, `3m 20s`, `2h 05m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02d}s"
    return f"{total // 3600}h {total % 3600 // 60:02d}m"
