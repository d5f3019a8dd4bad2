"""Shows where a sent sweep stands; asks nobody."""

from __future__ import annotations

from cluster.job import State
from cluster.target import Standing
from orchestrator.cli.console import format_duration, print_changed, stdout
from orchestrator.running.status import SweepStatus
from orchestrator.submitting.sending import Whereabouts

EXIT_SOME_FAILED = 1
MAX_FAILURES = 10


def show_whereabouts(found: Whereabouts, *, is_sent: bool) -> None:
    """Print what store and target tell of a sweep.

    Args:
        found: What they tell.
        is_sent: Whether the target is to be named where it knows nothing of the sweep.
    """
    if found.status is not None:
        _show_status(found.status)
    if found.standing is not None:
        _show_standing(found.standing)
    elif is_sent and not found.unreached:
        stdout().print("The cluster knows of no submission.")
    if found.unreached:
        stdout().print(found.unreached, style="yellow", markup=False, highlight=False)


def _show_standing(standing: Standing) -> None:
    console = stdout()
    attempt = f", attempt {standing.num_attempts}" if standing.num_attempts > 1 else ""
    owner = f" of {standing.owner}" if standing.owner else ""
    console.print(f"{standing.id}{owner}: {standing.state}{attempt}", highlight=False)
    if standing.message and standing.state is not State.FINISHED:
        console.print(f"  {standing.message}", markup=False, highlight=False)
    if standing.action:
        console.print(f"  {standing.action}", style="yellow", markup=False, highlight=False)


def exit_code(found: Whereabouts) -> int:
    """Return 0 where all trials are finished, else 1."""
    if found.status is not None:
        is_done = found.status.counts.keys() == {str(State.FINISHED)}
    else:
        is_done = found.standing is not None and found.standing.state is State.FINISHED
    return 0 if is_done else EXIT_SOME_FAILED


def _show_status(status: SweepStatus) -> None:
    console = stdout()
    print_changed(status.sweep, status.changed_since, is_past=status.is_past)
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
