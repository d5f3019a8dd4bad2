"""Configs of one task and what their seeds gave; compares no two of them.

The validation split ranks, so that the test split never takes part in choosing.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cluster.job import State
from orchestrator.planning.trial import Trial, TrialResult

if TYPE_CHECKING:
    from orchestrator.comparing.statistics.intervals import Interval

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A metric over the seeds of one config."""

    n: int
    mean: float | None
    """None where no seed gave a value."""
    std: float | None
    """Sample standard deviation (n - 1); None for fewer than two seeds, and where a value is not
    finite."""
    ci: Interval | None = None
    """95% confidence interval of the mean by Student's t; None for fewer than two seeds."""
    bca: Interval | None = None
    """The same by the bootstrap; of the best configs only, None for fewer than three seeds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise the values of a config's seeds."""
        mean = statistics.fmean(values) if values else None
        has_spread = len(values) > 1 and all(map(math.isfinite, values))
        return cls(
            n=len(values),
            mean=mean,
            std=statistics.stdev(values, mean) if has_spread else None,
            ci=_t_interval(values) if has_spread else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "n": self.n,
            "mean": self.mean,
            "std": self.std,
            "ci": bounds(self.ci),
            "bca": bounds(self.bca),
        }


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
    num_trials: int
    """Seeds that the sweep asks for."""
    num_failed: int
    """Those that failed, were killed or have not run."""
    scores: Mapping[str, Summary]
    """By split."""
    by_seed: Mapping[str, Mapping[int, float]] = field(default_factory=dict, repr=False)
    """The ranking metric by split and seed, of finished trials."""
    p_best: float | None = None
    """How compatible the validation scores are with being as good as the best: a p-value, adjusted
    for all configs of the task. None where that cannot be tested."""
    is_tied: bool | None = None
    """Whether it cannot be told apart from the best; None where that cannot be tested."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "rank": self.rank,
            "config_id": self.config_id,
            "model": self.model,
            "task": self.task,
            "method": self.method,
            "params": dict(self.params),
            "metric": self.metric,
            "mode": self.mode,
            "num_trials": self.num_trials,
            "num_failed": self.num_failed,
            "is_tied": self.is_tied,
            "p_best": self.p_best,
            "scores": {split: summary.to_json() for split, summary in self.scores.items()},
        }


def bounds(interval: Interval | None) -> list[float] | None:
    """Return an interval as plain data."""
    return None if interval is None else [interval.low, interval.high]


def rank_key(value: float | None, mode: str) -> float:
    """Return what sorts scores, the best first and those that are no number last."""
    if value is None or math.isnan(value):
        return math.inf
    return -value if mode == "max" else value


def config_rows(results: Iterable[TrialResult]) -> dict[str, list[ConfigRow]]:
    """Return the configs by task, the best validation mean first; nothing is tested yet."""
    results = list(results)
    varying = _varying_params([result.trial for result in results])
    configs: dict[str, list[TrialResult]] = defaultdict(list)
    for result in results:
        configs[result.trial.config_id].append(result)
    tasks: dict[str, list[ConfigRow]] = defaultdict(list)
    for seeds in configs.values():
        tasks[seeds[0].trial.task].append(_config_row(seeds, varying))
    return {task: ranked(rows) for task, rows in tasks.items()}


def ranked(rows: Sequence[ConfigRow]) -> list[ConfigRow]:
    """Return configs of one task by their validation mean, the best first."""
    ordered = sorted(rows, key=lambda row: rank_key(row.scores["validation"].mean, row.mode))
    return [replace(row, rank=rank) for rank, row in enumerate(ordered, start=1)]


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
    seeds = sorted(seeds, key=lambda result: result.trial.seed)
    finished = [result for result in seeds if result.state is State.FINISHED]
    by_seed = {
        split: {r.trial.seed: s for r in finished if (s := r.score(split)) is not None}
        for split in SPLITS
    }
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
        num_trials=len(seeds),
        num_failed=len(seeds) - len(finished),
        scores={split: Summary.of(list(by_seed[split].values())) for split in SPLITS},
        by_seed=by_seed,
    )


def _t_interval(values: Sequence[float]) -> Interval | None:
    from orchestrator.comparing.statistics.intervals import (  # noqa: PLC0415 - loads scipy
        t_interval,
    )

    return t_interval(values)
