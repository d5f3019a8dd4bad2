"""A report in a terminal, 80 characters wide or more; computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import stdout
from orchestrator.cli.report_end import show_end
from orchestrator.comparing.choice import SWEEP, Chosen
from orchestrator.comparing.configs import ConfigRow, Summary
from orchestrator.comparing.contrasts import Contrast
from orchestrator.comparing.groups import GroupRow
from orchestrator.comparing.overall import OverallRow
from orchestrator.comparing.paper import is_tied, seeds_text
from orchestrator.comparing.report import Report
from orchestrator.comparing.wording import (
    NOTHING,
    format_number,
    format_p,
    format_params,
    format_score,
    plural,
)

MAX_ROWS = 10
"""Rows of one table that a terminal shows; the rest is in `--json`, in files and in MLflow."""

MAX_CONTRASTS = 8

CONFIG_WIDTH = 34
"""Characters at least, so that the tables of several tasks stand in line."""

WIDE = 120
"""Characters from which on there is room for intervals."""


def show_report(report: Report, sweep: str, store: str | None) -> None:
    """Print the leaderboards, what compares, and the failures with their causes.

    Args:
        report: What to show.
        sweep: How the user named the sweep, for the commands to suggest.
        store: The store as the user gave it, likewise.
    """
    names = _Names(report)
    tables = [
        _task_table(task, rows, names)
        for task, rows in report.leaderboard.tasks.items()
        if any(summary.n for row in rows for summary in row.scores.values())
    ]  # a table of dashes says nothing
    for table in tables:
        _print(table)
    if any(is_tied(row) for rows in report.leaderboard.tasks.values() for row in rows[:MAX_ROWS]):
        _note("† cannot be told apart from the best over seeds (validation, 5%)")
    if len(report.chosen) > len(tables) or any(map(_is_beaten, report.chosen)):
        _print(_chosen_table(report.chosen, names))
    if report.leaderboard.overall:
        _print(_overall_table(report.leaderboard.overall, names))
    for noun, groups in (("method", report.methods), ("model", report.models)):
        if len(groups) > 1 and len(tables) > 1:
            _print(_group_table(noun, groups))
    if report.contrasts.pairs:
        _show_contrasts(report, names)
    show_end(report, sweep, store)


def _is_beaten(item: Chosen) -> bool:
    """Return whether another config than the chosen one has the best test score."""
    return item.best_seen is not None and item.best_seen.config_id != item.row.config_id


class _Names:
    """What configs are called here: without the parts that all of them share."""

    def __init__(self, report: Report) -> None:
        trials = [result.trial for result in report.results]
        self._has_models = len({trial.model for trial in trials}) > 1
        self._has_tasks = len({trial.task for trial in trials}) > 1

    def config(self, row: ConfigRow | OverallRow) -> str:
        model = row.model if self._has_models else ""
        return _joined(model, row.method, format_params(row.params)) or NOTHING

    def pair(self, row: ConfigRow) -> str:
        """Return a model and method; of joined sweeps, which one."""
        model = row.model if self._has_models else ""
        sweep = str(row.params.get(SWEEP, ""))
        return _joined(model, row.method, f"of {sweep}" if sweep else "") or NOTHING

    def task(self, task: str) -> str:
        return task if self._has_tasks else ""

    def head(self, row: ConfigRow) -> str:
        """Return the task before what is said of it, where there are several."""
        return f"{row.task}: " if self._has_tasks else ""


def _task_table(task: str, rows: Sequence[ConfigRow], names: _Names) -> Table:
    metric = f"{rows[0].metric}{' (less is better)' if rows[0].mode == 'min' else ''}"
    table = _table(Text.assemble((task or "results", "bold"), f"  {metric}"), "config", len(rows))
    is_wide = _is_wide()
    _numbers(table, "validation", *(["95%"] if is_wide else []))
    _numbers(table, "test", *(["95%"] if is_wide else []), "n")
    for row in rows[:MAX_ROWS]:
        cells = []
        for split in ("validation", "test"):
            cells += [format_score(row, split), *([_interval(row.scores[split])] * is_wide)]
        rank = f"{row.rank}{'†' if is_tied(row) else ' '}"
        table.add_row(rank, Text(names.config(row)), *cells, seeds_text(row))
    return table


def _chosen_table(chosen: Sequence[Chosen], names: _Names) -> Table:
    """Return what validation chose, beside the best test score that any config has."""
    title = Text.assemble(
        ("chosen", "bold"), "  by validation; best seen is the best test mean of any"
    )
    table = _table(title, "task, method", len(chosen))
    _numbers(table, "configs", "test", "best seen")
    for item in chosen[:MAX_ROWS]:
        best = item.best_seen.scores["test"].mean if item.best_seen else None
        table.add_row(
            "",
            Text(_joined(names.task(item.row.task), names.pair(item.row))),
            str(item.num_configs),
            format_score(item.row, "test"),
            format_number(best),
        )
    return table


def _overall_table(rows: Sequence[OverallRow], names: _Names) -> Table:
    has_means = any(row.scores["validation"] is not None for row in rows)
    title = "mean over tasks" if has_means else "ranks over tasks (validation)"
    table = _table(Text.assemble(("overall", "bold"), f"  {title}"), "config", len(rows))
    _numbers(table, *(["validation", "test"] if has_means else ["wins"]), "rank", "tasks")
    for row in rows[:MAX_ROWS]:
        means = [format_number(row.scores[split]) for split in ("validation", "test")]
        table.add_row(
            f"{row.rank} " if row.is_complete else "",
            Text(names.config(row)),
            *(means if has_means else [_percent(row.win_rate)]),
            _decimal(row.mean_rank),
            str(row.num_tasks),
        )
    return table


def _group_table(noun: str, groups: Sequence[GroupRow]) -> Table:
    is_common = all(group.is_complete for group in groups)
    where = "" if is_common else "; rank and wins on those that all were tried on"
    title = Text.assemble((f"per {noun}", "bold"), f"  chosen configs on test, over tasks{where}")
    table = _table(title, noun, len(groups), min_width=20)
    _numbers(table, "mean", "IQM", "95% of IQM", "rank", "wins", "tasks")
    for place, group in enumerate(groups[:MAX_ROWS], start=1):
        interval = (
            f"{format_number(group.ci.low)}–{format_number(group.ci.high)}" if group.ci else NOTHING
        )
        table.add_row(
            f"{place} " if is_common else "",
            Text(group.name),
            format_number(group.mean),
            format_number(group.iqm),
            interval,
            _decimal(group.mean_rank),
            _percent(group.win_rate),
            str(group.num_tasks),
        )
    return table


def _show_contrasts(report: Report, names: _Names) -> None:
    pairs = report.contrasts.pairs
    real = sorted((pair for pair in pairs if pair.is_real), key=lambda pair: pair.p_adjusted or 0.0)
    console = stdout()
    title = Text.assemble(
        ("differences", "bold"), f"  chosen configs on test, {plural(len(pairs), 'pair')}, Holm"
    )
    console.print(title)
    for pair in real[:MAX_CONTRASTS]:
        console.print(Text(f"   {_contrast(pair, names)}"))
    if len(real) > MAX_CONTRASTS:
        console.print(f"   ... and {len(real) - MAX_CONTRASTS} more that are real", style="dim")
    left = [pair for pair in pairs if not pair.is_real]
    if left:
        one = _open_pair(left[0], names) if len(left) == 1 else plural(len(left), "pair")
        _indented(f"{one} cannot be told apart{_why(pairs)}")
    if report.contrasts.num_left_out:
        num_left_out = plural(report.contrasts.num_left_out, "pair")
        _indented(f"{num_left_out} of lower-ranked configs left out")
    console.print()


def _contrast(pair: Contrast, names: _Names) -> str:
    is_first = (pair.difference > 0) == (pair.a.mode == "max")
    better, worse = (pair.a, pair.b) if is_first else (pair.b, pair.a)
    over = f"{names.head(pair.a)}{names.pair(better)} over {names.pair(worse)}"
    lead = format_number(abs(pair.difference))
    return f"{over}, by {lead}, p{_equals(format_p(pair.p_adjusted))}"


def _open_pair(pair: Contrast, names: _Names) -> str:
    return f"{names.head(pair.a)}{names.pair(pair.a)} and {names.pair(pair.b)}"


def _why(pairs: Sequence[Contrast]) -> str:
    return "" if any(pair.num_seeds > 1 for pair in pairs) else ": that takes more than one seed"


def _table(title: Text, noun: str, num_rows: int, min_width: int = CONFIG_WIDTH) -> Table:
    left_out = f"... and {num_rows - MAX_ROWS} more" if num_rows > MAX_ROWS else None
    table = Table(
        title=title,
        title_justify="left",
        caption=left_out,
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    table.add_column("# ", justify="right", no_wrap=True)
    table.add_column(noun, overflow="fold", min_width=min_width)
    return table


def _numbers(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def _print(table: Table) -> None:
    stdout().print(table)
    stdout().print()


def _note(text: str) -> None:
    stdout().print(text, style="dim", highlight=False)
    stdout().print()


def _indented(text: str) -> None:
    stdout().print(f"   {text}", style="dim", highlight=False)


def _is_wide() -> bool:
    return stdout().width >= WIDE


def _interval(summary: Summary) -> str:
    if summary.ci is None:
        return NOTHING
    return f"{format_number(summary.ci.low)} to {format_number(summary.ci.high)}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"


def _decimal(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _equals(value: str) -> str:
    return value if value.startswith("<") else f"={value}"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
