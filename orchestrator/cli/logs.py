"""`fanflare logs`: what the stages of one trial printed, every attempt, and why they failed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli.console import StoreOption, stdout
from orchestrator.running.trial_logs import trial_logs

NAME = "logs"


def logs(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, or its beginning.")],
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", metavar="SWEEP", help="The sweep, if the trial is in several."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Show what the stages of a trial printed, each attempt, with the traceback of failures."""
    for log in trial_logs(trial, sweep, store):
        stdout().rule(f"{log.stage} {log.digest[:12]}", align="left", style="dim")
        sys.stdout.write(log.text if log.text.endswith("\n") or not log.text else f"{log.text}\n")
