"""`fanflare retry`: sends a sweep again as it was sent, for what failed or was not reached."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import submit as submitting
from orchestrator.cli.console import ClusterOption, JsonOption, StoreOption, SweepArgument

NAME = "retry"


def retry(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the driver's log until the end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Send a sweep again by its name, from any machine: what is finished is not computed anew."""
    submitting.submit(sweep, cluster, store, wait=wait, dry_run=False, json=json)
