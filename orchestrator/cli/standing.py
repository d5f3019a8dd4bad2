"""Shows where a sent sweep stands; asks nobody."""

from __future__ import annotations

from cluster.job import State
from orchestrator.cli.console import stdout
from orchestrator.submitting.sending import Whereabouts

EXIT_SOME_FAILED = 1


def show_standing(found: Whereabouts) -> None:
    """Print what the target tells of a submission, in a line or two, and what to do next."""
    console, standing = stdout(), found.standing
    if standing is None:
        console.print("It was never submitted to this target.")
        return
    attempt = f", attempt {standing.num_attempts}" if standing.num_attempts > 1 else ""
    owner = f" of {standing.owner}" if standing.owner else ""
    console.print(f"{standing.id}{owner}: {standing.state}{attempt}", highlight=False)
    if standing.message:
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
