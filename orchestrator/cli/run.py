"""`fanflare run`: runs a sweep here, showing progress, and ends with the comparison."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from cluster.backend import BACKENDS
from cluster.job import State
from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    TrackingOption,
    command_line,
    format_duration,
    print_hint,
    print_json,
    stderr,
    stdout,
)
from orchestrator.cli.progress_display import display_on
from orchestrator.cli.report import show_report
from orchestrator.comparing.report import Report
from orchestrator.errors import FanflareError, nearest_name
from orchestrator.running.options import RunOptions
from orchestrator.running.session import run as run_sweep

NAME = "run"


def run(  # noqa: PLR0913, PLR0917 - one argument an option
    sweep: SweepArgument,
    backend: Annotated[
        str, typer.Option(help="`ray`, or `inline`: all in this process, for debugging.")
    ] = "ray",
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything anew, whatever the store has.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="Try again the trials that failed in an earlier run.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Run a sweep: only what the store does not have yet; the same command again resumes.

    Exit codes: 0 all trials finished, 1 some failed, 2 bad input, 130 interrupted.
    """
    if backend not in BACKENDS:
        near = nearest_name(backend, BACKENDS)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise FanflareError(f"unknown backend {backend!r}; there are {', '.join(BACKENDS)}{hint}")
    started_at = time.monotonic()
    with display_on(stderr()) as display:
        options = RunOptions(
            backend=backend,
            store=store,
            tracking_uri=tracking_uri,
            fresh=fresh,
            retry_failed=retry_failed,
            observer=display,
        )
        report = run_sweep(sweep, options)
    if json:
        print_json(report.to_json())
    else:
        show_report(report, sweep, store)
        _say_what_was_done(report, time.monotonic() - started_at)
        places = {"store": store, "tracking_uri": tracking_uri}
        if report.state is State.KILLED:
            print_hint(f"Continue with: {command_line('run', sweep, **places)}")
        elif report.is_tracked:
            print_hint(f"In MLflow: {command_line('ui', sweep, **places)}")
    sys.exit(report.exit_code)


def _say_what_was_done(report: Report, duration_s: float) -> None:
    console = stdout()
    num_finished = report.counts.get(State.FINISHED, 0)
    took = f"in {format_duration(duration_s)}"
    if report.state is State.KILLED:
        console.print(f"Interrupted; {num_finished} finished trials are kept.", style="yellow")
    elif report.num_reused == len(report.results):
        console.print(f"Nothing to compute: all {report.num_reused} were known, checked {took}.")
    elif report.num_reused:
        num_new = len(report.results) - report.num_reused
        console.print(f"{report.num_reused} were known, {num_new} new {took}.")
    else:
        console.print(f"Done {took}.")
