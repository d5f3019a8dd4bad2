"""`fanflare report`: the comparison of what a sweep has given so far."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cluster.job import State
from orchestrator.cli.console import JsonOption, StoreOption, SweepArgument, print_json, stdout
from orchestrator.comparing.leaderboard import ConfigRow, OverallRow
from orchestrator.comparing.report import Report, format_params, format_score
from orchestrator.running.session import report as make_report

NAME = "report"

MAX_ROWS = 10
"""Configs of one task that a terminal shows; the rest is in `--json` and in MLflow."""

MAX_FAILURES = 5


def report(sweep: SweepArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show configs ranked per task and overall: mean ± standard deviation and n over seeds."""
    made = make_report(sweep, store=store)
    if json:
        print_json(made.to_json())
    else:
        show_report(made)
    sys.exit(0)


def show_report(report: Report) -> None:
    """Print the leaderboards, and the failures with their causes."""
    console = stdout()
    several_models = len({result.trial.model for result in report.results}) > 1
    for task, rows in report.leaderboard.tasks.items():
        console.print(_task_table(task, rows, several_models))
        if len(rows) > MAX_ROWS:
            console.print(f"... and {len(rows) - MAX_ROWS} more configs\n", style="dim")
    if report.leaderboard.overall:
        console.print(_overall_table(report.leaderboard.overall, several_models))
    counts = ", ".join(f"{count} {state.lower()}" for state, count in report.counts.items())
    console.print(f"{report.sweep}: {len(report.results)} trials, {counts}", style="bold")
    _show_failures(report)


def _task_table(task: str, rows: Sequence[ConfigRow], several_models: bool) -> Table:
    metric = f"{rows[0].metric}{' (less is better)' if rows[0].mode == 'min' else ''}"
    table = _table(Text.assemble((task or "results", "bold"), f"  {metric}"))
    for heading in ("validation", "test", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:MAX_ROWS]:
        num_seeds = str(row.scores["validation"].n)
        table.add_row(
            str(row.rank),
            _config(row.model if several_models else "", row.method, row.params),
            format_score(row, "validation"),
            format_score(row, "test"),
            f"{num_seeds} ({row.num_failed} missing)" if row.num_failed else num_seeds,
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
    table.add_column("config", overflow="fold")
    return table


def _config(model: str, method: str, params: Mapping[str, Any]) -> str:
    return " ".join(part for part in (model, method, format_params(params)) if part)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show_failures(report: Report) -> None:
    failed = [result for result in report.results if result.state is State.FAILED]
    for result in failed[:MAX_FAILURES]:
        failure = result.failure
        why = f"{failure.cause}: {failure.message.splitlines()[0][:200]}" if failure else "unknown"
        stdout().print(
            f"  {result.trial.id} {result.trial.method} on {result.trial.task}, "
            f"seed {result.trial.seed}: {why}",
            style="red",
            markup=False,
            highlight=False,
        )
    if failed:
        rest = len(failed) - MAX_FAILURES
        more = f"... and {rest} more. " if rest > 0 else ""
        stdout().print(f"{more}Read why with: fanflare logs {failed[0].trial.id}")
