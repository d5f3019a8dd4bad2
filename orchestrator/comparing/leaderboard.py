"""Ranks configs by their mean over seeds, a task at a time and overall; runs nothing.

The validation split ranks, so that the test split never takes part in choosing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.comparing.configs import ConfigRow, config_rows
from orchestrator.comparing.overall import OverallRow, overall_rows
from orchestrator.comparing.ties import num_resampled, with_bootstrap, with_ties
from orchestrator.planning.trial import TrialResult


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The comparison of a sweep's configs."""

    tasks: Mapping[str, Sequence[ConfigRow]] = field(default_factory=dict)
    """Rows by task, best first."""
    overall: Sequence[OverallRow] = ()


def leaderboard(results: Iterable[TrialResult]) -> Leaderboard:
    """Return the leaderboard of results; unfinished trials count as failed seeds."""
    tasks = config_rows(results)
    first = num_resampled(len(tasks))
    for task, rows in tasks.items():
        tested = with_ties(rows)
        tasks[task] = [*map(with_bootstrap, tested[:first]), *tested[first:]]
    return Leaderboard(tasks=tasks, overall=overall_rows(tasks))
