"""What a sweep found, as the note on its page in MLflow: a sentence and small tables in Markdown.

It reads a report's plain data (docs/json.md) and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.headline import finding
from orchestrator.comparing.page.values import Names
from orchestrator.comparing.wording import NOTHING, format_mean, format_number

Row = Mapping[str, Any]

MAX_TASKS = 40
"""Tasks of which a note has a table; a tag of MLflow holds 5,000 characters for sure."""
MAX_LENGTH = 4900
"""Characters of a note, some less than what MLflow keeps of a tag."""
MAX_FAILURES = 5

_OPEN = (
    "Open **report.html** under *Artifacts* for plots, comparisons and provenance; "
    "**leaderboard.json** there is a table of all configs. To compare configs, search the runs for "
    "``tags.`fanflare.kind` = 'config'``."
)


def chosen_rows(data: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the leaderboard that validation chose, task by task."""
    rows = Names(data).rows
    return [rows[chosen["config_id"]] for chosen in data["chosen"]]


def sweep_note(data: Mapping[str, Any]) -> str:
    """Return the note.

    Args:
        data: What `Report.to_json` gives.
    """
    chosen, names = chosen_rows(data), Names(data)
    tasks: dict[str, list[Row]] = {}
    for row in chosen:
        tasks.setdefault(row["task"], []).append(row)
    parts = [_finding(data, names), _OPEN]
    tail = list(_failures(data))
    room = MAX_LENGTH - sum(len(part) + 2 for part in (*parts, *tail))
    for number, (task, rows) in enumerate(tasks.items()):
        table = _table(task, rows, data["leaderboard"]["tasks"][task], names)
        room -= len(table) + 2
        if room < 0 or number >= MAX_TASKS:
            parts.append(f"... and {len(tasks) - number} more tasks, in report.html")
            break
        parts.append(table)
    return "\n\n".join([*parts, *tail])[:MAX_LENGTH] + "\n"


def _finding(data: Mapping[str, Any], names: Names) -> str:
    counts = ", ".join(f"{count} {state.lower()}" for state, count in data["counts"].items())
    return f"**{finding(data, names)}** Trials: {counts}."


def _table(task: str, rows: Sequence[Row], ranked: Sequence[Row], names: Names) -> str:
    """Return the chosen configs of a task, and how many others are as good as the first."""
    metric = rows[0]["metric"]
    less = ", less is better" if rows[0]["mode"] == "min" else ""
    lines = [
        f"### {task or 'Results'} ({metric}{less})",
        "",
        "| # | chosen config | validation | test | 95% interval (test) | seeds |",
        "|--:|---|---|---|---|--:|",
    ]
    for row in sorted(rows, key=lambda row: row["rank"]):
        tie = " (tied)" if row["is_tied"] and row["rank"] > 1 else ""
        lines.append(
            f"| {row['rank']} | {_label(row, names)}{tie} | {_score(row, 'validation')} "
            f"| {_score(row, 'test')} | {_bounds(row)} | {row['scores']['validation']['n']} |"
        )
    tied = sum(bool(row["is_tied"]) for row in ranked) - 1
    if tied > 0:
        verb = "configs cannot" if tied > 1 else "config cannot"
        lines += ["", f"{tied} other {verb} be told apart from the best on the validation split."]
    return "\n".join(lines)


def _failures(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what failed and why."""
    failures = data.get("failures") or ()
    if failures:
        lines = ["### What failed", ""]
        for failure in failures[:MAX_FAILURES]:
            message = " ".join(str(failure["message"]).replace("`", "'").split())[:200]
            trials = "trial" if failure["num_trials"] == 1 else "trials"
            lines.append(f"- {failure['num_trials']} {trials}, {failure['cause']}: `{message}`")
        if len(failures) > MAX_FAILURES:
            lines.append(f"- ... and {len(failures) - MAX_FAILURES} more causes")
        yield "\n".join(lines)


def _label(row: Row, names: Names) -> str:
    return names.label(row["config_id"]).replace("|", "\\|")


def _score(row: Row, split: str) -> str:
    scores = row["scores"][split]
    return format_mean(scores["mean"], scores["std"])


def _bounds(row: Row) -> str:
    bounds = row["scores"]["test"]["ci"]
    return NOTHING if bounds is None else " to ".join(map(format_number, bounds))
