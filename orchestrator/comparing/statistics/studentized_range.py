"""The distribution behind Tukey's range test, quick enough for a step-down over many configs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special, stats
from scipy.interpolate import PchipInterpolator

from orchestrator.comparing.statistics.resampling import Floats

MAX_RANGE = 14.0
"""A range of 400 normal values above it has a probability below 1e-15."""


def survival(q: Floats, num_means: int, df: int) -> Floats:
    """Return P(Q >= q) of the studentized range, as scipy.stats.studentized_range.sf does.

    That function integrates anew for every value, a hundredth of a second each; here the range of
    normal values is tabulated once and only averaged over the spread's distribution.

    Args:
        q: Range over the standard error of a mean, any shape.
        num_means: How many means the range is over.
        df: Degrees of freedom of the standard error.

    Returns:
        Probabilities, in the shape of q; exact to about 1e-6.
    """
    spreads, weights = _spreads(df)
    ranges = np.minimum(np.asarray(q, dtype=np.float64)[..., None] * spreads, MAX_RANGE)
    return np.clip(_range_survival(num_means)(ranges) @ weights, 0.0, 1.0)


@lru_cache(maxsize=512)
def _range_survival(num_means: int) -> PchipInterpolator:
    """P(range of num_means standard normal values >= w) over w."""
    widths = np.linspace(0, MAX_RANGE, 281)
    lowest, step = np.linspace(-8.5, 8.5, 137, retstep=True)
    within = special.ndtr(lowest + widths[:, None]) - special.ndtr(lowest)
    density = num_means * np.exp(-(lowest**2) / 2) / np.sqrt(2 * np.pi)
    return PchipInterpolator(widths, 1 - (within ** (num_means - 1) @ density) * step)


@lru_cache(maxsize=512)
def _spreads(df: int) -> tuple[Floats, Floats]:
    """Nodes and weights of a standard deviation estimated with df, around its true value 1."""
    least, most = stats.chi2.ppf(1e-10, df), stats.chi2.ppf(1 - 1e-12, df)
    logs = np.linspace(np.log(least / df), np.log(most / df), 101) / 2
    weights = np.exp(df * (logs - (np.exp(2 * logs) - 1) / 2))
    return np.exp(logs), weights / weights.sum()
