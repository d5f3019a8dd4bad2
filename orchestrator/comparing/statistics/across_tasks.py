"""Sums up scores over several tasks; knows neither models nor methods by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from orchestrator.comparing.statistics.intervals import Interval, normal_reach
from orchestrator.comparing.statistics.resampling import Floats

LEVEL = 0.95


def interquartile_mean(scores: Sequence[float] | Sequence[Sequence[float]] | Floats) -> float:
    """Return the mean of the middle half of all runs of all tasks.

    Less moved by one odd task than the mean, less noisy than the median. Source: Agarwal et al.
    (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS.

    Args:
        scores: Runs in any shape: a list, (tasks, seeds), or per task a list of seeds' scores.

    Returns:
        The interquartile mean, in the unit of the scores.
    """
    return float(stats.trim_mean(_flat(scores), 0.25))


def stratified_interval(
    scores: Sequence[Sequence[float]], *, seed: int = 0, num_resamples: int = 2000
) -> Interval:
    """Return the 95% interval of the interquartile mean: what other seeds might have given.

    Bootstrap stratified by task, percentile interval, as in rliable (Agarwal et al. 2021): every
    task keeps its number of runs. Made wider for few seeds as `intervals.bca_interval` is. The
    tasks are taken as given.

    Args:
        scores: Per task the scores of its seeds; tasks may differ in their number of seeds.
        seed: Of the resampling.
        num_resamples: Bootstrap samples.

    Returns:
        The bounds; a point where every task has one seed.

    Raises:
        ValueError: A task has no score, or there is no task.
    """
    tasks = [np.sort(np.asarray(task, dtype=np.float64)) for task in scores]
    if not tasks or not all(len(task) for task in tasks):
        raise ValueError("every task needs a score")
    rng = np.random.default_rng(seed)
    drawn = [task[rng.integers(len(task), size=(num_resamples, len(task)))] for task in tasks]
    means = np.asarray(stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1))
    num_runs = sum(map(len, tasks))
    if num_runs == len(tasks):
        return Interval(float(means[0]), float(means[0]))
    reach = normal_reach(num_runs, LEVEL, len(tasks))
    low, high = np.quantile(means, special.ndtr((-reach, reach)))
    return Interval(float(low), float(high))


def mean_ranks(scores: Sequence[Sequence[float]] | Floats) -> Floats:
    """Return the mean rank over tasks: 1 is best; equal scores share the mean of their ranks.

    Source: Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7.

    Args:
        scores: (methods, tasks), higher is better. A task that lacks a score (NaN) is left out.

    Returns:
        (methods,); NaN where no task has all scores.
    """
    array = np.asarray(scores, dtype=np.float64)
    complete = array[:, ~np.isnan(array).any(axis=0)]
    if not complete.size:
        return np.full(len(array), np.nan)
    return np.asarray(stats.rankdata(-complete, axis=0).mean(axis=1), dtype=np.float64)


def win_rates(scores: Sequence[Sequence[float]] | Floats) -> Floats:
    """Return the part of (task, rival) pairs that a method wins; an equal score is half a win.

    Args:
        scores: (methods, tasks), higher is better. A task that lacks a score (NaN) is left out.

    Returns:
        (methods,) between 0 and 1; NaN where there is no rival or no task has all scores.
    """
    array = np.asarray(scores, dtype=np.float64)
    if len(array) < 2:
        return np.full(len(array), np.nan)
    # Of m methods the one of rank r has m - r behind it; a shared rank counts halves.
    return (len(array) - mean_ranks(array)) / (len(array) - 1)


def _flat(scores: Sequence[float] | Sequence[Sequence[float]] | Floats) -> Floats:
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in scores])
