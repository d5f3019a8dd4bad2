"""`fanflare status`: where a sweep stands, from any other terminal."""

from __future__ import annotations

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    format_duration,
    print_hint,
    print_json,
    stdout,
)
from orchestrator.running.status import SweepStatus, sweep_status
from orchestrator.running.workspace import open_sweep

NAME = "status"

MAX_FAILURES = 10


def status(sweep: SweepArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show where a sweep stands: its state, its trials by state, what runs now, what failed."""
    found = sweep_status(open_sweep(sweep, store))
    if json:
        print_json(found.to_json())
        return
    _show(found)
    if found.failures:
        failed = found.failures[0].trial
        print_hint(f"Why: {command_line('logs', failed, sweep=sweep, store=store)}")


def _show(status: SweepStatus) -> None:
    console = stdout()
    counts = ", ".join(f"{count} {state.lower()}" for state, count in status.counts.items())
    console.print(f"[bold]{status.sweep}[/bold] is {status.state}: {counts}")
    for job in status.running:
        console.print(
            f"  running for {format_duration(job.running_s)}: {', '.join(job.stages)}"
            + (f" (attempt {job.attempt})" if job.attempt > 1 else "")
        )
    for failure in status.failures[:MAX_FAILURES]:
        console.print(
            f"  {failure.trial} failed, {failure.cause}: {failure.message.splitlines()[0][:200]}",
            style="red",
            markup=False,
            highlight=False,
        )
    if len(status.failures) > MAX_FAILURES:
        console.print(f"  ... and {len(status.failures) - MAX_FAILURES} more failures")
