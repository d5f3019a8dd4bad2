"""How a report ends in the terminal: counts, accounts, fidelity, failures; no tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.cli.console import command_line, format_duration, print_hint, stdout
from orchestrator.comparing.report import Report
from orchestrator.comparing.wording import plural
from pipelines.labels import Fidelity

MAX_FAILURES = 5

SHOWN_FROM = 0.01
"""Watt-hours, or grams, below which an estimate says nothing."""


def show_end(report: Report, sweep: str, store: str | None) -> None:
    """Print how many trials ended how, what that took, and why some failed.

    Args:
        report: What to show.
        sweep: How the user named the sweep, for the commands to suggest.
        store: The store as the user gave it, likewise.
    """
    counts = ", ".join(f"{count} {state.lower()}" for state, count in report.counts.items())
    stdout().print(
        f"{report.sweep}: {len(report.results)} trials, {counts}", style="bold", highlight=False
    )
    if report.accounts is not None:
        show_accounts(report.accounts)
    if report.labels.keys() - {Fidelity.EXACT}:
        labels = ", ".join(f"{count} {label}" for label, count in report.labels.items())
        check = command_line("verify", sweep, store=store)
        print_hint(f"Against each trial alone: {labels}; check a sample with: {check}")
    for group in report.failures[:MAX_FAILURES]:
        more = ", ..." if group.num_trials > len(group.trials) else ""
        trials = f"{', '.join(group.trials)}{more}"
        text = f"  {plural(group.num_trials, 'trial')}, {group.cause}: {group.message[:200]}"
        stdout().print(text, style="red", markup=False, highlight=False)
        stdout().print(f"    {trials}", style="dim", markup=False, highlight=False)
    if len(report.failures) > MAX_FAILURES:
        stdout().print(f"  ... and {len(report.failures) - MAX_FAILURES} more causes")
    if report.failures:
        first = report.failures[0].trials[0]
        print_hint(f"Why: {command_line('logs', first, sweep=sweep, store=store)}")


def show_accounts(accounts: Mapping[str, Any]) -> None:
    """Print in one line what the sweep took and what sharing saved."""
    units = (("energy_kwh", "Wh"), ("emissions_kg", "g CO2e"))
    figures = [(1000 * accounts[name], unit) for name, unit in units if accounts[name] is not None]
    shown = [
        f"~{value:,.0f} {unit}" if value >= 10 else f"~{value:.2g} {unit}"
        for value, unit in figures
        if value >= SHOWN_FROM
    ]
    took = [format_duration(accounts["compute_s"]), *shown]
    line = f"Compute: {', '.join(took)}"
    if accounts["num_saved"]:
        saved = f"{plural(accounts['num_saved'], 'stage')}, {format_duration(accounts['saved_s'])}"
        line += f"; saved by sharing, estimated: {saved}"
    stdout().print(line, style="dim", highlight=False)
