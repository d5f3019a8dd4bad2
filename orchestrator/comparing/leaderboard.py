"""Ranks configs by their mean over seeds, a task at a time and overall; runs nothing.

The validation split ranks, so that the test split never takes part in choosing.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.job import State
from orchestrator.planning.trial import Trial, TrialResult

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A metric over the seeds of one config."""

    n: int
    mean: float | None
    """None where no seed gave a value."""
    std: float | None
    """Sample standard deviation (n - 1); None for fewer than two seeds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise the values of a config's seeds."""
        return cls(
            n=len(values),
            mean=statistics.fmean(values) if values else None,
            std=statistics.stdev(values) if len(values) > 1 else None,
        )


@dataclass(frozen=True, kw_only=True)
class ConfigRow:
    """One config on one task."""

    rank: int
    config_id: str
    model: str
    task: str
    method: str
    params: Mapping[str, Any]
    """Only those in which this sweep's configs of the same method differ."""
    metric: str
    mode: str
    num_failed: int
    """Seeds that failed, were killed or have not run."""
    scores: Mapping[str, Summary]
    """By split."""


@dataclass(frozen=True, kw_only=True)
class OverallRow:
    """One config over all tasks: the mean of its tasks' means."""

    rank: int
    model: str
    method: str
    params: Mapping[str, Any]
    num_tasks: int
    """Tasks that it has a score on."""
    is_complete: bool
    """Whether it has a score on every task that a config of this sweep has one on."""
    scores: Mapping[str, float | None]
    """Mean over its tasks, by split."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The comparison of a sweep's configs."""

    tasks: Mapping[str, Sequence[ConfigRow]] = field(default_factory=dict)
    """Rows by task, best first."""
    overall: Sequence[OverallRow] = ()


def leaderboard(results: Iterable[TrialResult]) -> Leaderboard:
    """Return the leaderboard of results; unfinished trials count as failed seeds."""
    results = list(results)
    varying = _varying_params([result.trial for result in results])
    configs: dict[str, list[TrialResult]] = defaultdict(list)
    for result in results:
        configs[result.trial.config_id].append(result)
    tasks: dict[str, list[ConfigRow]] = defaultdict(list)
    for seeds in configs.values():
        tasks[seeds[0].trial.task].append(_config_row(seeds, varying))
    ranked = {task: _ranked(rows) for task, rows in tasks.items()}
    return Leaderboard(tasks=ranked, overall=_overall(ranked))


def _varying_params(trials: Sequence[Trial]) -> dict[str, set[str]]:
    """Return, by method, the names of params that take more than one value in the sweep."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for trial in {trial.config_id: trial for trial in trials}.values():
        for name, value in trial.params.items():
            values[trial.method][name].add(repr(value))
    return {
        method: {name for name, seen in params.items() if len(seen) > 1}
        for method, params in values.items()
    }


def _config_row(seeds: Sequence[TrialResult], varying: Mapping[str, set[str]]) -> ConfigRow:
    trial = seeds[0].trial
    finished = [result for result in seeds if result.state is State.FINISHED]
    return ConfigRow(
        rank=0,
        config_id=trial.config_id,
        model=trial.model,
        task=trial.task,
        method=trial.method,
        params={
            name: value for name, value in trial.params.items() if name in varying[trial.method]
        },
        metric=trial.metric,
        mode=trial.mode,
        num_failed=len(seeds) - len(finished),
        scores={
            split: Summary.of([s for r in finished if (s := r.score(split)) is not None])
            for split in SPLITS
        },
    )


def _key(mean: float | None, mode: str) -> float:
    if mean is None or math.isnan(mean):
        return math.inf
    return -mean if mode == "max" else mean


def _ranked(rows: Sequence[ConfigRow]) -> list[ConfigRow]:
    ordered = sorted(rows, key=lambda row: _key(row.scores["validation"].mean, row.mode))
    return [_with_rank(row, rank) for rank, row in enumerate(ordered, start=1)]


def _with_rank(row: Any, rank: int) -> Any:
    return type(row)(**{**row.__dict__, "rank": rank})


def _overall(tasks: Mapping[str, Sequence[ConfigRow]]) -> list[OverallRow]:
    """Average over tasks, as GLUE does; only sensible where more is better on every task."""
    if len(tasks) < 2 or any(row.mode == "min" for rows in tasks.values() for row in rows):
        return []
    same: dict[tuple[str, str], list[ConfigRow]] = defaultdict(list)
    for rows in tasks.values():
        for row in rows:
            if row.scores["validation"].mean is not None:
                same[(row.model, repr((row.method, sorted(row.params.items()))))].append(row)
    num_tasks = max((len(rows) for rows in same.values()), default=0)
    overall = [
        OverallRow(
            rank=0,
            model=rows[0].model,
            method=rows[0].method,
            params=rows[0].params,
            num_tasks=len(rows),
            is_complete=len(rows) == num_tasks,
            scores={
                split: statistics.fmean(means) if (means := _means(rows, split)) else None
                for split in SPLITS
            },
        )
        for rows in same.values()
    ]
    overall.sort(key=lambda row: (not row.is_complete, _key(row.scores["validation"], "max")))
    return [_with_rank(row, rank) for rank, row in enumerate(overall, start=1)]


def _means(rows: Sequence[ConfigRow], split: str) -> list[float]:
    return [mean for row in rows if (mean := row.scores[split].mean) is not None]
