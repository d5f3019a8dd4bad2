"""`fanflare export`: a trial as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import (
    StoreOption,
    SweepOption,
    TrialArgument,
    format_duration,
    stderr,
    stdout,
)
from orchestrator.cli.progress_display import PlainDisplay
from orchestrator.running.export import Exported, ExportOptions, export_trial

NAME = "export"


def export(
    trial: TrialArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    sweep: SweepOption = None,
    store: StoreOption = None,
    merge: Annotated[
        bool,
        typer.Option(help="Fold LoRA's adapter into the weights, or keep it apart in peft's form."),
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export in the folder.")
    ] = False,
) -> None:
    """Write a finished trial as a folder that transformers loads, with a model card.

    A trial that trained weights of the model is trained again, once, as its weights are not kept.
    """
    observer = PlainDisplay(stderr())
    options = ExportOptions(sweep=sweep, store=store, merge=merge, force=force, observer=observer)
    _show(export_trial(trial, folder, options))


def _show(exported: Exported) -> None:
    console = stdout()
    trained = f", trained again in {format_duration(exported.trained_s)}"
    console.print(
        f"{exported.folder}: trial {exported.trial}, {exported.num_bytes / 2**20:.1f} MiB"
        f"{trained if exported.trained_s else ''}",
        markup=False,
        highlight=False,
    )
    verification = exported.verification
    for what, agreement in (
        ("training again", verification.retrained),
        ("loading the folder", verification.reloaded),
    ):
        if agreement is not None:
            style = "green" if agreement.is_close else "yellow"
            console.print(f"  {what}: {agreement}", style=style, markup=False, highlight=False)
