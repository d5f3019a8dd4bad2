"""`fanflare logs`: what the stages of one trial printed, every attempt, and why they failed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    StoreOption,
    SweepOption,
    print_json,
    print_waiting,
    stdout,
)
from orchestrator.errors import FanflareError
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.reading import results_of
from orchestrator.submitting.sending import Sent

NAME = "logs"


def logs(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="[TRIAL]", help="A trial's id, or its beginning; without it, the driver's log."
        ),
    ] = "",
    sweep: SweepOption = None,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the driver's log until the end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what a trial's stages printed, each attempt, or what a submitted sweep's driver did."""
    profile = read_profile(cluster)
    if not trial:
        if sweep is None:
            raise FanflareError("name a trial, or with --sweep the sweep whose driver you mean")
        if json:
            raise FanflareError("--json is for the logs of a trial")
        for line in Sent(sweep, profile, store).logs(follow=follow):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        return
    if follow:
        raise FanflareError(
            "--follow is for a driver's log: what a trial prints is kept when its stage ends"
        )
    with results_of(profile, store, print_waiting) as results:
        found = results.logs(trial, sweep)
    if json:
        print_json({"stages": [asdict(log) for log in found]})
        return
    for log in found:
        stdout().print(f"[bold]{log.stage}[/bold] {log.digest[:12]}", highlight=False)
        sys.stdout.write(_as_read(log.text))


def _as_read(text: str) -> str:
    """Return text as a terminal leaves it: of a line that was redrawn only the last state."""
    lines = [line.rpartition("\r")[2] for line in text.strip("\n").split("\n")]
    return "\n".join(lines) + "\n\n" if text else ""
