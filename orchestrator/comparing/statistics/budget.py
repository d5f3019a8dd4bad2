"""What a search over so many configs is expected to find; knows scores, not what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class BudgetPoint:
    """What choosing the best of so many configs is expected to give."""

    num_configs: int
    validation: float
    """Expected best validation score."""
    test: float | None
    """Expected test score of the config with that validation score."""


def expected_best(
    validation: Sequence[float], test: Sequence[float] | None, mode: str
) -> list[BudgetPoint]:
    """Return the expected best score for every budget from one config to all that were tried.

    With the order statistics of drawing from the tried configs with replacement, as the paper
    does: P(best of n <= v) = P(one <= v)**n. So at n = N it stays a little below the best seen.
    Source: Dodge et al. (2019), "Show Your Work: Improved Reporting of Experimental Results",
    EMNLP.

    Args:
        validation: Scores, (configs,).
        test: Scores of the same configs in the same order, or None.
        mode: max or min: which validation score is better.

    Returns:
        A point for each number of configs from 1 to N; none where no config has a score.
    """
    scores = np.asarray(validation, dtype=np.float64)
    others = None if test is None else np.asarray(test, dtype=np.float64)
    goodness = scores if mode == "max" else -scores
    above = stats.rankdata(goodness, method="max") / max(len(scores), 1)
    below = (stats.rankdata(goodness, method="min") - 1) / max(len(scores), 1)
    equal = np.round((above - below) * len(scores))
    points = []
    for num_configs in range(1, len(scores) + 1):
        chosen = (above**num_configs - below**num_configs) / equal
        points.append(
            BudgetPoint(
                num_configs=num_configs,
                validation=float(chosen @ scores),
                test=None if others is None else float(chosen @ others),
            )
        )
    return points
