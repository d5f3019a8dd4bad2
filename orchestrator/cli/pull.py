"""`fanflare pull`: brings a sweep's results and report from a cluster's store to this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    print_hint,
    print_json,
    print_waiting,
    stderr,
    stdout,
)
from orchestrator.running.saved_sweep import DEFAULT_STORE
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.pulling import pull as bring
from orchestrator.submitting.reading import results_of

NAME = "pull"


def pull(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    store: StoreOption = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="PATH", help="The store on this machine.")
    ] = Path(DEFAULT_STORE),
    everything: Annotated[
        bool, typer.Option("--all", help="Bring weights and features too, not only results.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy results to this machine and write the report; the same command brings what is new."""
    console = stderr()
    with (
        results_of(read_profile(cluster), store, print_waiting) as results,
        Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
    ):
        bar = progress.add_task("copying", total=None)
        pulled = bring(
            results.open(sweep),
            to.resolve(),
            everything=everything,
            observer=lambda done, total: progress.update(bar, completed=done, total=total),
            fetch=results.fetch,
        )
    if json:
        print_json(pulled.to_json())
        return
    stdout().print(
        f"[bold]{pulled.sweep}[/bold]: {pulled.num_copied} of {pulled.num_results} results are "
        f"new here, {pulled.size_bytes / 2**20:.1f} MiB copied."
    )
    print_hint(f"Its page:   {pulled.report}")
    print_hint(f"Compare:    {command_line('report', pulled.sweep, store=str(to))}")
    print_hint(f"In MLflow:  {command_line('sync', pulled.sweep, store=str(to))}")
