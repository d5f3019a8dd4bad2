"""Compares two configs by their common seeds and common test examples; knows no families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from orchestrator.comparing.statistics.intervals import Interval, bca, normal_reach, t_interval
from orchestrator.comparing.statistics.resampling import Floats, resampled_means

Scores = Sequence[float] | Sequence[Sequence[float]] | Floats
"""(seeds,) or (seeds, examples); both of a pair have the same seeds and examples in one order."""

MIN_SEEDS_WILCOXON = 10
"""With fewer, ranks show nothing once many pairs are corrected for: the least p is 2 / 2**n, at
9 seeds .004, at 10 .002."""
MIN_SEEDS_BCA = 6
"""Below it the bootstrap of a difference over seeds is too short."""
LEVEL = 0.95
NUM_RESAMPLES = 10_000
"""Bootstrap samples of a test: the least p is 1e-4."""


@dataclass(frozen=True)
class PairTest:
    """A two-sided test of "no difference" between two configs."""

    name: str
    """wilcoxon, paired t, mcnemar or paired bootstrap."""
    p: float


def test_seeds(a: Scores, b: Scores) -> PairTest | None:
    """Test whether a difference would survive other seeds.

    Wilcoxon's signed-rank test, exact (Wilcoxon 1945, Biometrics Bulletin 1), or Student's paired
    t-test where there are too few seeds for ranks.

    Args:
        a: (seeds,) or (seeds, examples), which is averaged over the examples.
        b: As a, in the same order.

    Returns:
        None for fewer than two seeds, or where a score is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    differences = _by_seed(_differences(a, b))
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    name = "wilcoxon" if len(differences) >= MIN_SEEDS_WILCOXON else "paired t"
    if not differences.any():
        return PairTest(name, 1.0)
    if name == "wilcoxon":
        return PairTest(name, float(stats.wilcoxon(differences).pvalue))
    if np.ptp(differences) <= 1e-9 * np.abs(differences).max():
        # Scores are parts of a number of examples, so that few seeds often differ by the same: no
        # spread is seen then, not none there. What is left is that all have the same sign.
        return PairTest(name, 2.0 ** (1 - len(differences)))
    return PairTest(name, float(stats.ttest_1samp(differences, 0.0).pvalue))


def test_examples(a: Scores, b: Scores) -> PairTest | None:
    """Test whether a difference between these trained models would survive other test examples.

    McNemar's test, exact (McNemar 1947, Psychometrika 12), for one seed and scores of 0 and 1;
    otherwise the paired bootstrap over examples of the mean over seeds (Efron and Tibshirani 1993,
    An Introduction to the Bootstrap, chapter 16).

    Args:
        a: (seeds, examples).
        b: As a, in the same order.

    Returns:
        None for fewer than two examples, or where a score is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    differences = np.atleast_2d(_differences(a, b))
    if differences.shape[1] < 2 or not np.isfinite(differences).all():
        return None
    if len(differences) == 1 and np.isin(np.asarray([a, b]), (0, 1)).all():
        won, lost = int((differences > 0).sum()), int((differences < 0).sum())
        p = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        return PairTest("mcnemar", float(p))
    by_example = differences.mean(axis=0)
    observed = abs(by_example.mean())
    rng = np.random.default_rng(0)
    means = resampled_means((by_example - by_example.mean())[:, None], NUM_RESAMPLES, rng)
    as_far = np.abs(means) >= observed * (1 - 1e-12)
    return PairTest("paired bootstrap", float((1 + as_far.sum()) / (1 + NUM_RESAMPLES)))


def difference_interval(a: Scores, b: Scores, *, seed: int = 0) -> Interval | None:
    """Return the 95% interval of mean(a) - mean(b).

    Over seeds alone: the BCa bootstrap, or Student's interval where there are too few. With example
    scores: what other seeds and other examples together might have given, by drawing both at once
    (Owen 2007, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1), the part of the seeds
    made wider for their small number as in `intervals.bca_interval`.

    Args:
        a: (seeds,) or (seeds, examples).
        b: As a, in the same order.
        seed: Of the resampling.

    Returns:
        None where there is nothing to draw from, or where a score is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    differences = _differences(a, b)
    if not np.isfinite(differences).all():
        return None
    if differences.ndim == 1 and len(differences) < MIN_SEEDS_BCA:
        return t_interval(differences)
    rng = np.random.default_rng(seed)
    if differences.ndim == 1:
        means = resampled_means(differences[:, None], NUM_RESAMPLES, rng)[:, 0]
        return bca(differences, means, LEVEL)
    by_seed = resampled_means(differences.T, NUM_RESAMPLES, rng)
    means = by_seed.mean(axis=1) + _seed_noise(by_seed, rng)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(low), float(high))


def _seed_noise(by_seed: Floats, rng: np.random.Generator) -> Floats:
    """Return how far another draw of the seeds moves the mean of each row of by_seed."""
    num_seeds = by_seed.shape[1]
    if num_seeds == 1:
        return np.zeros(len(by_seed))
    drawn = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(by_seed))
    noise = ((drawn - 1) * by_seed).sum(axis=1) / num_seeds
    return np.asarray(noise * normal_reach(num_seeds, LEVEL) / special.ndtri((1 + LEVEL) / 2))


def effect_size(a: Scores, b: Scores) -> float | None:
    """Return Cohen's d_z: the mean of the paired differences over their standard deviation.

    Source: Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, section 2.3.5;
    the name d_z as in Lakens (2013), Frontiers in Psychology 4.

    Args:
        a: (seeds,) or (seeds, examples), which is averaged over the examples.
        b: As a, in the same order.

    Returns:
        None for fewer than two seeds, or where all differences are equal or one is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    differences = _by_seed(_differences(a, b))
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    std = differences.std(ddof=1)
    return float(differences.mean() / std) if std > 1e-12 * np.abs(differences).max() else None


def _differences(a: Scores, b: Scores) -> Floats:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a pair needs the same seeds and examples: {first.shape}, {second.shape}")
    return first - second


def _by_seed(differences: Floats) -> Floats:
    return differences if differences.ndim == 1 else differences.mean(axis=1)
