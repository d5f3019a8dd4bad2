"""Corrects for many comparisons at once, and marks configs tied with the best; picks none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.comparing.statistics import studentized_range
from orchestrator.comparing.statistics.resampling import Floats

ALPHA = 0.05


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given.

    Reject where the adjusted p is at most 5%, and the chance of even one false rejection is at
    most 5%, however the tests depend on each other. Source: Holm (1979), "A Simple Sequentially
    Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6.

    Args:
        p_values: One a comparison.

    Returns:
        Adjusted p-values between 0 and 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def at_equal_budget(p: float, num_winner: int, num_loser: int) -> float:
    """Return p of a lead between two chosen configs, where the winner was chosen among more.

    A config is chosen for luck too, and the luck of a seed can reach from the validation split to
    the test split: of 40 equal configs the chosen one beats a single rival far too often. Split the
    winner's configs into groups as large as the loser's: the lead is the largest of as many fair
    leads as there are groups, so p is multiplied by their number (Bonferroni; Dunn 1961, "Multiple
    Comparisons Among Means", JASA 56).

    Args:
        p: Of the test over seeds.
        num_winner: Configs among which the one with the better mean was chosen.
        num_loser: Configs among which the other one was chosen.

    Returns:
        p itself where the winner was chosen among no more configs than the loser.
    """
    return min(1.0, p * -(-num_winner // num_loser))


def tied_with_best(scores: Sequence[Sequence[float]] | Floats, mode: str) -> list[float]:
    """Return for each config the adjusted p of "it is as good as the best".

    Tukey's range test in the two-way layout of configs and seeds (Tukey 1953, "The Problem of
    Multiple Comparisons"), twice: with the error pooled over all configs, and with the error of
    each pair's own differences (Maxwell 1980, "Pairwise Multiple Comparisons in Repeated Measures
    Designs", Journal of Educational Statistics 5). A config is worse only where both say so (Berger
    1982, Technometrics 24): the pooled error alone is wrong where spreads differ, the own error
    alone where a small spread is luck among many pairs. Configs found worse are set aside and the
    rest is compared again, so that a wild config that is worse hides nothing among the others.

    Args:
        scores: (configs, seeds), the same seeds in the same order, without gaps.
        mode: max or min: which score is better.

    Returns:
        (configs,); the best has 1.0; above 5% a config cannot be told apart from the best.

    Raises:
        ValueError: Fewer than two seeds, or a score that is not finite.
    """
    values = np.asarray(scores, dtype=np.float64) * (1 if mode == "max" else -1)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise ValueError(f"needs two seeds or more, all with a score; got {values.shape}")
    adjusted = np.ones(len(values))
    left, floor = np.arange(len(values)), 0.0
    while len(left) > 1:
        p = np.maximum(_p_of_best(values[left]), floor)
        adjusted[left] = p
        worse = p <= ALPHA
        if not worse.any():
            break
        floor, left = p[worse].max(), left[~worse]
    return [float(p) for p in adjusted]


def _p_of_best(values: Floats) -> Floats:
    """Return p of each config against the best mean, for a range test over all of them."""
    num_configs, num_seeds = values.shape
    means = values.mean(axis=1)
    best = values[means.argmax()]
    behind = best.mean() - means
    residuals = values - means[:, None] - values.mean(axis=0) + values.mean()
    df = (num_configs - 1) * (num_seeds - 1)
    pooled = (residuals**2).sum() / df
    # The variance of a difference is that of two scores.
    own = (best - values).var(axis=1, ddof=1) / 2
    tests = [(pooled, df), (own, num_seeds - 1)]
    # Differences within rounding are none, whatever their spread.
    is_behind = behind > 1e-12 * np.abs(values).max()
    with np.errstate(divide="ignore", invalid="ignore"):
        p = [
            studentized_range.survival(
                np.where(is_behind, behind / np.sqrt(variance / num_seeds), 0.0),
                num_configs,
                freedom,
            )
            for variance, freedom in tests
        ]
    return np.where(is_behind, np.maximum(*p), 1.0)
