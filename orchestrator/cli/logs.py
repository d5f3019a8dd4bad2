"""`fanflare logs`: what the stages of one trial printed, every attempt, and why they failed."""

from __future__ import annotations

import sys
from dataclasses import asdict

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepOption,
    TrialArgument,
    print_json,
    stdout,
)
from orchestrator.running.trial_logs import trial_logs

NAME = "logs"


def logs(
    trial: TrialArgument,
    sweep: SweepOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the stages of a trial printed, each attempt, with the traceback of failures."""
    found = trial_logs(trial, sweep, store)
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
