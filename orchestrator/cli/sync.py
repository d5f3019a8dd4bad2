"""`fanflare sync`: rebuilds a sweep's records in MLflow from its store."""

from __future__ import annotations

import sys

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    TrackingOption,
    print_hint,
    print_json,
    stderr,
    stdout,
)
from orchestrator.cli.progress_display import display_on
from orchestrator.running.syncing import Synced
from orchestrator.running.syncing import sync as sync_sweep

NAME = "sync"


def sync(
    sweep: SweepArgument,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """Write to MLflow what the store has and MLflow lacks, all of it on an empty server.

    Exit codes: 0 nothing is left to write, 1 something is, 2 bad input, 130 interrupted.
    """
    with display_on(stderr()) as display:
        synced = sync_sweep(sweep, store=store, tracking_uri=tracking_uri, observer=display)
    if json:
        print_json(synced.to_json())
    else:
        _show(synced)
    sys.exit(synced.exit_code)


def _show(synced: Synced) -> None:
    tracked = synced.tracked
    for fault in tracked.faults:
        stdout().print(f"MLflow: {fault}", style="yellow", markup=False, highlight=False)
    runs = {
        "trial": f"{tracked.num_written} of {synced.num_trials} trials have a run",
        "config": f"a run a config, none a trial ({synced.num_trials} trials)",
        "sweep": f"one run in all ({synced.num_trials} trials)",
    }[synced.detail]
    print_hint(f"{synced.sweep}: {runs} at {synced.tracking_uri}")
    if not tracked.is_complete:
        print_hint("Not all could be written; the same command writes the rest.", style="yellow")
