"""`fanflare report`: the comparison of what a sweep has given so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cluster.job import State
from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepArgument,
    command_line,
    print_hint,
    print_json,
    stdout,
)
from orchestrator.comparing.leaderboard import ConfigRow, OverallRow
from orchestrator.comparing.report import Report, format_params, format_score
from orchestrator.planning.trial import TrialResult
from orchestrator.running.session import report as make_report
from pipelines.labels import Fidelity

NAME = "report"

MAX_ROWS = 10
"""Configs of one task that a terminal shows; the rest is in `--json` and in MLflow."""

MAX_FAILURES = 5

CONFIG_WIDTH = 35
"""Characters at least, so that the tables of several tasks stand in line."""


def report(sweep: SweepArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show configs ranked per task and overall: mean ± standard deviation and n over seeds."""
    made = make_report(sweep, store=store)
    if json:
        print_json(made.to_json())
    else:
        show_report(made, sweep, store)


def show_report(report: Report, sweep: str, store: str | None) -> None:
    """Print the leaderboards, and the failures with their causes.

    Args:
        report: What to show.
        sweep: How the user named the sweep, for the commands to suggest.
        store: The store as the user gave it, likewise.
    """
    console = stdout()
    several_models = len({result.trial.model for result in report.results}) > 1
    for task, rows in report.leaderboard.tasks.items():
        if not any(summary.n for row in rows for summary in row.scores.values()):
            continue  # a table of dashes says nothing
        console.print(_task_table(task, rows, several_models))
        if len(rows) > MAX_ROWS:
            console.print(f"... and {len(rows) - MAX_ROWS} more configs", style="dim")
        console.print()
    if report.leaderboard.overall:
        console.print(_overall_table(report.leaderboard.overall, several_models))
        console.print()
    counts = ", ".join(f"{count} {state.lower()}" for state, count in report.counts.items())
    console.print(
        f"{report.sweep}: {len(report.results)} trials, {counts}", style="bold", highlight=False
    )
    if report.labels.keys() - {Fidelity.EXACT}:
        labels = ", ".join(f"{count} {label}" for label, count in report.labels.items())
        check = command_line("verify", sweep, store=store)
        print_hint(f"Against each trial alone: {labels}; check a sample with: {check}")
    failed = [result for result in report.results if result.state is State.FAILED]
    if failed:
        _show_failures(failed)
        print_hint(f"Why: {command_line('logs', failed[0].trial.id, sweep=sweep, store=store)}")


def _task_table(task: str, rows: Sequence[ConfigRow], several_models: bool) -> Table:
    metric = f"{rows[0].metric}{' (less is better)' if rows[0].mode == 'min' else ''}"
    table = _table(Text.assemble((task or "results", "bold"), f"  {metric}"))
    for heading in ("validation", "test", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:MAX_ROWS]:
        n = row.scores["validation"].n
        table.add_row(
            str(row.rank),
            _config(row.model if several_models else "", row.method, row.params),
            format_score(row, "validation"),
            format_score(row, "test"),
            f"{n} of {n + row.num_failed}" if row.num_failed else str(n),
        )
    return table


def _overall_table(rows: Sequence[OverallRow], several_models: bool) -> Table:
    table = _table(Text.assemble(("overall", "bold"), "  mean over tasks"))
    for heading in ("validation", "test", "tasks"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:MAX_ROWS]:
        table.add_row(
            str(row.rank) if row.is_complete else "",
            _config(row.model if several_models else "", row.method, row.params),
            *(_number(row.scores[split]) for split in ("validation", "test")),
            str(row.num_tasks),
        )
    return table


def _table(title: Text) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    table.add_column("config", overflow="fold", min_width=CONFIG_WIDTH)
    return table


def _config(model: str, method: str, params: Mapping[str, Any]) -> Text:
    return Text(" ".join(part for part in (model, method, format_params(params)) if part))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show_failures(failed: Sequence[TrialResult]) -> None:
    for result in failed[:MAX_FAILURES]:
        trial, failure = result.trial, result.failure
        why = f"{failure.cause}: {failure.message.splitlines()[0][:200]}" if failure else "unknown"
        what = " ".join(part for part in (trial.method, trial.task and f"on {trial.task}") if part)
        text = f"  {trial.id} {what}{', ' if what else ''}seed {trial.seed}: {why}"
        stdout().print(text, style="red", markup=False, highlight=False)
    if len(failed) > MAX_FAILURES:
        stdout().print(f"  ... and {len(failed) - MAX_FAILURES} more")
