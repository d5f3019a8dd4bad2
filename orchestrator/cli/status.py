"""`fanflare status`: where a sweep stands, from any other terminal."""

from __future__ import annotations

from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    print_hint,
    print_json,
    print_waiting,
)
from orchestrator.cli.standing import show_whereabouts
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.sending import Sent

NAME = "status"


def status(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show where a sweep stands: its state, its trials by state, what runs now, what failed."""
    found = Sent(sweep, read_profile(cluster), store, print_waiting).whereabouts()
    if json:
        print_json(found.to_json())
        return
    show_whereabouts(found, is_sent=cluster is not None)
    if found.status is not None and found.status.failures:
        failed = found.status.failures[0].trial
        places = {"cluster": cluster, "store": store}
        print_hint(f"Why: {command_line('logs', failed, sweep=sweep, **places)}")
