"""`fanflare status`: where a sweep stands, from any other terminal."""

from __future__ import annotations

from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    format_duration,
    print_hint,
    print_json,
    stdout,
)
from orchestrator.cli.standing import show_standing
from orchestrator.running.status import SweepStatus
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.sending import Sent

NAME = "status"

MAX_FAILURES = 10


def status(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show where a sweep stands: its state, its trials by state, what runs now, what failed."""
    found = Sent(sweep, read_profile(cluster), store).whereabouts()
    if json:
        print_json(found.to_json())
        return
    if found.status is not None:
        _show(found.status)
    if found.standing is not None or cluster is not None:
        show_standing(found)
    if found.status is not None and found.status.failures:
        failed = found.status.failures[0].trial
        places = {"cluster": cluster, "store": store}
        print_hint(f"Why: {command_line('logs', failed, sweep=sweep, **places)}")


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
