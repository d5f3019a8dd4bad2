"""`fanflare verify`: whether trials that shared their work came to what they come to alone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    print_json,
    stderr,
    stdout,
)
from orchestrator.cli.progress_display import display_on
from orchestrator.running.verify import (
    DEFAULT_SAMPLE,
    TrialCheck,
    Verification,
    VerifyOptions,
)
from orchestrator.running.verify import verify as verify_sweep

NAME = "verify"


def verify(
    sweep: SweepArgument,
    sample: Annotated[
        int, typer.Option(min=1, help="How many finished trials to run again, at most.")
    ] = DEFAULT_SAMPLE,
    seed: Annotated[
        int, typer.Option(help="Draws the sample; the same seed draws the same trials.")
    ] = 0,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Run a sample of finished trials again, each alone, and compare with what the store has.

    Every method, cohort, stage and label has a trial in the sample before any has two. All that may
    have been computed with other trials is computed again, in this process and in a folder that is
    removed afterwards; what was loaded and tokenised is taken from the store, which stays as it is.

    A trial whose training blows up rounding, and that therefore differs as much from itself when
    it is moved by a few roundings, is called unstable: nothing can be said of its label.

    Exit codes: 0 every label holds, 1 one is broken or unstable, 2 bad input.
    """
    with display_on(stderr()) as display:
        options = VerifyOptions(sample=sample, seed=seed, store=store, observer=display)
        found = verify_sweep(sweep, options)
    if json:
        print_json(found.to_json())
    else:
        _show(found)
    sys.exit(found.exit_code)


def _show(found: Verification) -> None:
    console = stdout()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("trial", "config", "label", "scores", "metrics", "bound", ""):
        table.add_column(heading, no_wrap=heading != "config", overflow="fold")
    for check in found.checks:
        table.add_row(*_row(check))
    console.print(table)
    for check in found.checks:
        for fault in check.faults:
            text = f"  {check.trial.id}: {fault}"
            style = "yellow" if check.is_unstable else "red"
            console.print(text, style=style, markup=False, highlight=False)
    num_broken = sum(check.is_broken for check in found.checks)
    num_unstable = sum(check.is_unstable for check in found.checks)
    unstable = f", {num_unstable} unstable" if num_unstable else ""
    skipped = f", {found.num_skipped} not finished and skipped" if found.num_skipped else ""
    console.print(
        f"{found.sweep}: {len(found.checks)} of {found.num_finished} finished trials run alone, "
        f"{num_broken} broken{unstable}{skipped}",
        style="bold",
        highlight=False,
    )


def _row(check: TrialCheck) -> list[Text | str]:
    trial, found, bound = check.trial, check.differences, check.bound
    place = f"{f' on {trial.task}' if trial.task else ''} seed {trial.seed}"
    flips = f", {found.num_flipped} flipped" if found and found.num_flipped else ""
    scores = "–" if found is None or found.scores is None else f"{found.scores:.1e}{flips}"
    verdict = Text("broken", "red") if check.is_broken else Text("ok", "green")
    if check.is_unstable:
        verdict = Text("unstable", "yellow")
    return [
        trial.id,
        Text(f"{check.config}{place}".strip()),
        str(check.label),
        scores,
        "–" if found is None else f"{found.metrics:.1e}",
        "none" if bound is None else f"{bound.scores:g}, {bound.metrics:g}",
        verdict,
    ]
