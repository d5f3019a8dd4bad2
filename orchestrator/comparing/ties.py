"""Which configs of a task cannot be told apart from its best, over seeds; ranks nothing.

Scores are compared on the validation split, the one that ranks. Seeds are blocks: what a seed does
to all configs alike, such as the order of the training rows, is no noise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.comparing.configs import SPLITS, ConfigRow

LEVEL = 0.05
"""A p-value up to which a difference counts as real."""

NUM_RESAMPLED = 10
"""Configs of a task, the best ones, whose means have a bootstrap interval too: it costs a few
milliseconds, which thousands of configs would add up to minutes."""

MAX_RESAMPLED = 200
"""Bootstrap intervals of a report, with as many of each task as there is room for."""


def with_ties(rows: Sequence[ConfigRow]) -> list[ConfigRow]:
    """Return the ranked configs of a task, each with how it compares with the best.

    Tested are configs that have finished the seeds in :func:`common_seeds`; the others have None.
    """
    seeds = common_seeds(rows)
    tested = [row for row in rows if _has(row, seeds)]
    if len(seeds) < 2 or len(tested) < 2:
        return list(rows)
    from orchestrator.comparing.statistics.families import (  # noqa: PLC0415 - loads scipy
        tied_with_best,
    )

    scores = [[row.by_seed["validation"][seed] for seed in seeds] for row in tested]
    p_values = dict(
        zip(
            (row.config_id for row in tested),
            map(float, tied_with_best(scores, rows[0].mode)),
            strict=True,
        )
    )
    if p_values[rows[0].config_id] < 1.0:
        return list(rows)  # over the common seeds another config is the best one
    return [
        replace(row, p_best=p, is_tied=p > LEVEL)
        if (p := p_values.get(row.config_id)) is not None
        else row
        for row in rows
    ]


def common_seeds(rows: Sequence[ConfigRow]) -> list[int]:
    """Return the seeds by which the configs of a task are compared.

    They are those that most configs have finished, as far as the best one has: a config that lacks
    some of them is not compared, and never makes others be.
    """
    sets = Counter(found for row in rows if (found := _finished(row)))
    if not sets:
        return []
    usual = max(sets, key=lambda seeds: (sets[seeds], len(seeds), sorted(seeds)))
    best = _finished(rows[0])
    return sorted(usual & best)


def with_bootstrap(row: ConfigRow) -> ConfigRow:
    """Return a config whose means have a bootstrap interval over seeds, where there are three."""
    from orchestrator.comparing.statistics.intervals import (  # noqa: PLC0415 - loads scipy
        bca_interval,
    )

    scores = dict(row.scores)
    for split in SPLITS:
        values = list(row.by_seed.get(split, {}).values())
        if len(values) > 2 and all(map(math.isfinite, values)):
            scores[split] = replace(scores[split], bca=bca_interval(values))
    return replace(row, scores=scores)


def num_resampled(num_tasks: int) -> int:
    """Return how many configs of each task have a bootstrap interval."""
    return max(1, min(NUM_RESAMPLED, MAX_RESAMPLED // max(1, num_tasks)))


def _finished(row: ConfigRow) -> frozenset[int]:
    scores = row.by_seed.get("validation", {})
    return frozenset(seed for seed, score in scores.items() if math.isfinite(score))


def _has(row: ConfigRow, seeds: Sequence[int]) -> bool:
    return _finished(row).issuperset(seeds)
