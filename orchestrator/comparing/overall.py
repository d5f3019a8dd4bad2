"""Configs over all tasks: means, ranks and wins on the validation split; chooses nothing.

A mean over tasks needs scores in which more is better everywhere, or one metric for all. Ranks and
wins need no common scale: they take each task's own direction.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.comparing.configs import SPLITS, ConfigRow, bounds, rank_key

if TYPE_CHECKING:
    from orchestrator.comparing.statistics.intervals import Interval

NUM_RESAMPLED = 10
"""Configs overall, the best ones, whose inter-quartile mean has an interval: it is bootstrapped."""

MAX_COMPARED = 2000
"""Configs up to which each is compared with each other one for ranks and wins."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The inter-quartile mean over tasks and seeds."""

    value: float
    ci: Interval | None
    """95%, by a bootstrap stratified by task; None for a single seed, and where left out."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {"value": self.value, "ci": bounds(self.ci)}


@dataclass(frozen=True, kw_only=True)
class OverallRow:
    """One config over all tasks."""

    rank: int
    model: str
    method: str
    params: Mapping[str, Any]
    num_tasks: int
    """Tasks that it has a score on."""
    is_complete: bool
    """Whether it has a score on every task that a config of this sweep has one on."""
    scores: Mapping[str, float | None]
    """Mean over its tasks' means, by split; None where the tasks have no common scale."""
    iqm: Mapping[str, Pooled | None] = field(default_factory=dict)
    """By split, likewise."""
    mean_rank: float | None = None
    """Mean over tasks of its rank on the validation split among complete configs."""
    win_rate: float | None = None
    """The part of tasks and rivals against which it has the better validation mean."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "rank": self.rank,
            "model": self.model,
            "method": self.method,
            "params": dict(self.params),
            "num_tasks": self.num_tasks,
            "is_complete": self.is_complete,
            "scores": dict(self.scores),
            "iqm": {s: pooled.to_json() if pooled else None for s, pooled in self.iqm.items()},
            "mean_rank": self.mean_rank,
            "win_rate": self.win_rate,
        }


def overall_rows(tasks: Mapping[str, Sequence[ConfigRow]]) -> list[OverallRow]:
    """Return the configs over all tasks, complete ones first; empty for fewer than two tasks.

    They are ranked by the mean of their tasks' validation means, as GLUE does, or by the mean rank
    where the tasks have no common scale.
    """
    if len(tasks) < 2:
        return []
    mode = common_mode(row for rows in tasks.values() for row in rows)
    same: dict[tuple[str, str], list[ConfigRow]] = defaultdict(list)
    for task in sorted(tasks):
        for row in tasks[task]:
            if row.scores["validation"].mean is not None:
                same[(row.model, repr((row.method, sorted(row.params.items()))))].append(row)
    num_tasks = len({row.task for rows in same.values() for row in rows})
    found = {key: _row(rows, num_tasks, mode) for key, rows in same.items()}
    complete = [key for key, row in found.items() if row.is_complete]
    means = [[oriented(row, "validation") for row in same[key]] for key in complete]
    for key, (rank, wins) in zip(complete, ranks_and_wins(means), strict=True):
        found[key] = replace(found[key], mean_rank=rank, win_rate=wins)
    ordered = sorted(found, key=lambda key: _order(found[key], mode))
    return [
        replace(found[key], rank=rank, iqm=_iqm(same[key], mode, resample=rank <= NUM_RESAMPLED))
        for rank, key in enumerate(ordered, start=1)
    ]


def common_mode(rows: Iterable[ConfigRow]) -> str | None:
    """Return the direction of a mean over tasks, or None where such a mean says nothing."""
    return mode_of_mean((row.mode, row.metric) for row in rows)


def mode_of_mean(metrics: Iterable[tuple[str, str]]) -> str | None:
    """Return as :func:`common_mode` for modes with names of metrics: errors have no common unit."""
    scales = {(mode, metric if mode == "min" else "") for mode, metric in metrics}
    return next(iter(scales))[0] if len(scales) == 1 else None


def oriented(row: ConfigRow, split: str) -> float | None:
    """Return a config's mean such that more is better."""
    mean = row.scores[split].mean
    return mean if mean is None or row.mode == "max" else -mean


def mean_of_means(rows: Iterable[ConfigRow], split: str) -> float | None:
    """Return the mean over tasks of a config's means; None where there are none."""
    means = [mean for row in rows if (mean := row.scores[split].mean) is not None]
    return statistics.fmean(means) if means else None


def pool(rows: Iterable[ConfigRow], split: str, *, resample: bool = True) -> Pooled | None:
    """Return the inter-quartile mean of all seeds of all rows, each a task; None without values."""
    tasks = [values for row in rows if (values := list(row.by_seed.get(split, {}).values()))]
    if not tasks or not all(math.isfinite(value) for values in tasks for value in values):
        return None
    from orchestrator.comparing.statistics.across_tasks import (  # noqa: PLC0415 - loads scipy
        interquartile_mean,
        stratified_interval,
    )

    has_seeds = all(len(values) > 1 for values in tasks)
    return Pooled(
        value=float(interquartile_mean([value for values in tasks for value in values])),
        ci=stratified_interval(tasks) if resample and has_seeds else None,
    )


def ranks_and_wins(
    scores: Sequence[Sequence[float | None]],
) -> list[tuple[float | None, float | None]]:
    """Return the mean rank and the win rate of each row.

    Args:
        scores: One row a config, one column a task; more is better, None stands for no score.
            Columns that are not full are left out.
    """
    nothing: list[tuple[float | None, float | None]] = [(None, None)] * len(scores)
    if not 2 <= len(scores) <= MAX_COMPARED:
        return nothing
    import numpy as np  # noqa: PLC0415 - numpy is not needed to plan

    from orchestrator.comparing.statistics.across_tasks import (  # noqa: PLC0415 - loads scipy
        mean_ranks,
        win_rates,
    )

    table = np.array([[math.nan if s is None else s for s in row] for row in scores], dtype=float)
    table = table[:, ~np.isnan(table).any(axis=0)]
    if not table.shape[1]:
        return nothing
    pairs = zip(mean_ranks(table), win_rates(table), strict=True)
    return [(float(rank), float(wins)) for rank, wins in pairs]


def _row(rows: Sequence[ConfigRow], num_tasks: int, mode: str | None) -> OverallRow:
    return OverallRow(
        rank=0,
        model=rows[0].model,
        method=rows[0].method,
        params=rows[0].params,
        num_tasks=len(rows),
        is_complete=len(rows) == num_tasks,
        scores={split: mean_of_means(rows, split) if mode else None for split in SPLITS},
    )


def _iqm(
    rows: Sequence[ConfigRow], mode: str | None, *, resample: bool
) -> dict[str, Pooled | None]:
    return {split: pool(rows, split, resample=resample) if mode else None for split in SPLITS}


def _order(row: OverallRow, mode: str | None) -> tuple[bool, float]:
    by_rank = rank_key(row.mean_rank, "min")
    return not row.is_complete, rank_key(row.scores["validation"], mode) if mode else by_rank
