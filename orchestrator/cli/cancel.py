"""`fanflare cancel`: ends a submitted sweep in good order."""

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
    stdout,
)
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.sending import Sent

NAME = "cancel"


def cancel(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """End a submitted sweep; its finished trials are kept, and `retry` goes on with the rest."""
    sent = Sent(sweep, read_profile(cluster), store, print_waiting)
    before = sent.cancel()
    if json:
        print_json({"sweep": sent.name, "cancelled": before.to_json() if before else None})
        return
    if before is None:
        stdout().print(f"Nothing of [bold]{sent.name}[/bold] runs or waits.")
        return
    stdout().print(f"Cancelled {before.id}; what is finished is kept.", highlight=False)
    places = {"cluster": cluster, "store": store}
    print_hint(f"Go on with: {command_line('retry', sent.name, **places)}")
