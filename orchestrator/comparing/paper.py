"""The tables of a report as they stand in a paper: which rows, columns and marks; no markup.

Two kinds: what validation chose over all tasks, on the test split, and the best configs of each
task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.comparing.choice import SWEEP, Chosen
from orchestrator.comparing.configs import SPLITS, ConfigRow
from orchestrator.comparing.contrasts import Contrast
from orchestrator.comparing.wording import (
    NOTHING,
    config_label,
    format_score,
    format_summary,
    plural,
)

NUM_TASKS = 5
"""Tasks side by side: as many as fit on a page; further ones stand in another table."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell."""

    text: str
    is_best: bool = False
    is_tied: bool = False
    """Whether it cannot be told apart from the best."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table."""

    caption: str
    """What it shows, and what n, ± and the marks mean."""
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    num_left: int
    """Columns from the left that hold words; the others hold numbers."""


def chosen_tables(chosen: Sequence[Chosen], pairs: Sequence[Contrast]) -> list[PaperTable]:
    """Return models and methods against tasks: the test score of what validation chose.

    Args:
        chosen: The chosen configs.
        pairs: How they compare, for the mark of ties.
    """
    rows: dict[tuple[str, str, str], dict[str, ConfigRow]] = {}
    for item in chosen:
        row = item.row
        key = (row.model, row.method, str(row.params.get(SWEEP, "")))
        rows.setdefault(key, {})[row.task] = row
    tasks = list(dict.fromkeys(item.row.task for item in chosen))
    parts = [tasks[start : start + NUM_TASKS] for start in range(0, len(tasks), NUM_TASKS)]
    return [_chosen_table(rows, part, pairs) for part in parts]


def task_table(rows: Sequence[ConfigRow], num_rows: int) -> PaperTable:
    """Return the best configs of a task, on both splits.

    Args:
        rows: The ranked configs of one task.
        num_rows: How many of them to show.
    """
    task, shown = rows[0].task, rows[:num_rows]
    num_left_out = len(rows) - len(shown)
    left_out = f"; {plural(num_left_out, 'more config')} not shown" if num_left_out else ""
    name = f"{task}: " if task else ""
    mark = (
        "†: cannot be told apart from it on the validation split (range test with seeds as blocks, "
        "family-wise error 5%)."
    )
    caption = [
        f"{name}{_metric(rows[0])} of the best configs, ranked by the validation split{left_out}.",
        _spread(shown),
        "Bold: the best.",
        *([mark] if any(map(is_tied, shown)) else []),
    ]
    return PaperTable(
        caption=" ".join(caption),
        head=["#", "config", *SPLITS, "n"],
        rows=[
            [
                Cell(text=str(row.rank)),
                Cell(text=config_label(row) or row.config_id),
                Cell(
                    text=format_score(row, "validation"),
                    is_best=row.rank == 1,
                    is_tied=is_tied(row),
                ),
                Cell(text=format_score(row, "test")),
                Cell(text=seeds_text(row)),
            ]
            for row in shown
        ],
        num_left=2,
    )


def is_tied(row: ConfigRow) -> bool:
    """Return whether a config that is not the best cannot be told apart from it."""
    return bool(row.is_tied) and row.rank > 1


def seeds_text(row: ConfigRow) -> str:
    """Return over how many seeds a mean is: `3`, or `2 of 3` where some gave no score."""
    n = row.scores["validation"].n
    return str(n) if n == row.num_trials else f"{n} of {row.num_trials}"


def _chosen_table(
    rows: Mapping[tuple[str, str, str], Mapping[str, ConfigRow]],
    tasks: Sequence[str],
    pairs: Sequence[Contrast],
) -> PaperTable:
    best = {
        task: _best([found[task] for found in rows.values() if task in found]) for task in tasks
    }
    ties = _ties(best, pairs)
    nouns = [n for n, name in enumerate(("model", "method", "sweep")) if _is_told(rows, n, name)]
    body = [
        [
            *(Cell(text=key[n] or NOTHING) for n in nouns),
            *(_test_cell(found.get(task), best[task], ties) for task in tasks),
        ]
        for key, found in rows.items()
    ]
    shown = [found[task] for found in rows.values() for task in tasks if task in found]
    heads = [f"{task} ({_metric(row)})" if row else task for task, row in best.items()]
    return PaperTable(
        caption=_chosen_caption(shown, bool(ties), any(pair.num_seeds < 2 for pair in pairs)),
        head=[*(("model", "method", "sweep")[n] for n in nouns), *heads],
        rows=body,
        num_left=len(nouns),
    )


def _test_cell(row: ConfigRow | None, best: ConfigRow | None, ties: set[str]) -> Cell:
    if row is None:
        return Cell(text=NOTHING)
    text = format_summary(row.scores["test"])
    return Cell(text=text, is_best=row is best, is_tied=row.config_id in ties)


def _is_told(rows: Mapping[tuple[str, str, str], object], noun: int, name: str) -> bool:
    """Return whether a column is needed: always for one of the three, else where it has a value."""
    has_value = any(key[noun] for key in rows)
    return has_value or (name == "method" and not any(any(key) for key in rows))


def _best(rows: Sequence[ConfigRow]) -> ConfigRow | None:
    scored = [row for row in rows if row.scores["test"].mean is not None]
    sign = -1 if rows and rows[0].mode == "min" else 1
    return max(scored, key=lambda row: sign * (row.scores["test"].mean or 0.0), default=None)


def _ties(best: Mapping[str, ConfigRow | None], pairs: Sequence[Contrast]) -> set[str]:
    ids = {row.config_id for row in best.values() if row}
    found: set[str] = set()
    for pair in pairs:
        ends = {pair.a.config_id, pair.b.config_id}
        if not pair.is_real and pair.num_seeds > 1 and ends & ids:
            found |= ends - ids
    return found


def _chosen_caption(rows: Sequence[ConfigRow], has_ties: bool, has_untested: bool) -> str:
    parts = [
        "Test scores of the configs that the validation split chose for each model and method.",
        _spread(rows),
        "Bold: the best.",
    ]
    if has_ties:
        parts.append(
            "†: cannot be told apart from the best (paired by seeds and, where there are "
            "predictions, by test examples; Holm-corrected over all pairs, 5%)."
        )
    if has_untested:
        parts.append("Configs that share one seed only are not compared.")
    return " ".join(parts)


def _spread(rows: Sequence[ConfigRow]) -> str:
    counts = sorted({row.scores["validation"].n for row in rows})
    if not counts or counts[-1] < 2:
        return "One seed each (n = 1)."
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Mean ± standard deviation over n = {n} seeds."


def _metric(row: ConfigRow) -> str:
    return f"{row.metric}{', less is better' if row.mode == 'min' else ''}"
