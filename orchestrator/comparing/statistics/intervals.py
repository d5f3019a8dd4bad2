"""Confidence intervals of a mean over seeds or over test examples; compares nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from orchestrator.comparing.statistics.resampling import Floats, resampled_means


@dataclass(frozen=True)
class Interval:
    """Two bounds in the unit of the scores."""

    low: float
    high: float


def t_interval(values: Sequence[float] | Floats, level: float = 0.95) -> Interval | None:
    """Return Student's interval of the mean: mean ± t(n - 1) * std / sqrt(n).

    Source: Student (1908), "The Probable Error of a Mean", Biometrika 6.

    Args:
        values: Scores, (seeds,).
        level: How often such an interval holds the true mean.

    Returns:
        None for fewer than two values, or where one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or not np.isfinite(array).all():
        return None
    mean = array.mean()
    half = (
        special.stdtrit(len(array) - 1, (1 + level) / 2) * array.std(ddof=1) / np.sqrt(len(array))
    )
    return Interval(float(mean - half), float(mean + half))


def bca_interval(
    values: Sequence[float] | Floats,
    level: float = 0.95,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Interval | None:
    """Return the bias-corrected and accelerated bootstrap interval of the mean.

    Assumes no distribution, but learns none from five values either: show `t_interval` below 20.
    Source: Efron (1987), "Better Bootstrap Confidence Intervals", JASA 82; made as much wider as
    Student's is than the normal interval, after Hesterberg (2015), "What Teachers Should Know About
    the Bootstrap", The American Statistician 69, because a bootstrap of n values is too short.

    Args:
        values: Scores, (seeds,).
        level: How often such an interval is meant to hold the true mean.
        seed: Of the resampling.
        num_resamples: Bootstrap samples.

    Returns:
        None for fewer than three values, or where one is not finite; a point where all are equal.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 3 or not np.isfinite(array).all():
        return None
    means = resampled_means(array[:, None], num_resamples, np.random.default_rng(seed))
    return bca(array, means[:, 0], level)


def examples_interval(
    scores: Sequence[Sequence[float]] | Floats,
    level: float = 0.95,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Interval | None:
    """Return the BCa interval of the mean score over another draw of the test examples.

    The seeds are taken as they are: an example is drawn with its scores under all of them.

    Args:
        scores: (seeds, examples).
        level: How often such an interval is meant to hold the true mean of these trained models.
        seed: Of the resampling.
        num_resamples: Bootstrap samples.

    Returns:
        None for fewer than three examples, or where a score is not finite.
    """
    array = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    return bca_interval(array.mean(axis=0), level, seed=seed, num_resamples=num_resamples)


def bca(values: Floats, means: Floats, level: float) -> Interval:
    """Return the interval from the bootstrapped means; the jackknife of a mean is in closed form.

    Args:
        values: (n,), at least two, finite.
        means: (num_resamples,), means of n values drawn from them.
        level: How often such an interval is meant to hold the true mean.

    Returns:
        The bounds; a point where all values are equal.
    """
    centre, deviations = values.mean(), values - values.mean()
    spread = np.sqrt((deviations**2).sum())
    if spread <= 1e-12 * np.abs(values).max():
        return Interval(float(centre), float(centre))
    # A sample whose mean is that of the values counts half; rounding must not decide it.
    side = np.where(np.abs(means - centre) <= 1e-12 * spread, 0.5, means < centre)
    bias = special.ndtri(side.mean())
    acceleration = (deviations**3).sum() / (6 * spread**3)
    reach = bias + normal_reach(len(values), level) * np.array([-1.0, 1.0])
    quantiles = special.ndtr(bias + reach / (1 - acceleration * reach))
    low, high = np.quantile(means, quantiles)
    return Interval(float(low), float(high))


def normal_reach(num_values: int, level: float, num_means: int = 1) -> float:
    """Return how many bootstrapped standard errors Student's interval reaches to either side.

    Args:
        num_values: Values in all; more than num_means.
        level: How often the interval is meant to hold the truth.
        num_means: Groups that are resampled each for itself.

    Returns:
        The normal quantile's counterpart; it approaches that quantile as num_values grows.
    """
    freedom = num_values - num_means
    student = special.stdtrit(freedom, (1 + level) / 2)
    return float(student * np.sqrt(num_values / freedom))
