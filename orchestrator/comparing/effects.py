"""Which hyperparameters matter: shares of the variance of configs' scores; draws nothing.

The functional analysis of variance splits the variance of a score over the space into what each
param explains by itself and what only their interplay does. On a complete grid this is exact: a
param's share is the variance of its marginal means. Elsewhere a random forest fills the grid first.
Source: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
Importance", ICML 2014.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning.trial import TrialResult

if TYPE_CHECKING:
    import numpy as np

INTERACTIONS = "(interactions)"
"""What no param explains by itself: params together, and noise."""

MIN_CONFIGS = 8
"""Configs below which a forest knows too little of the space to say anything."""

MAX_POINTS = 4096
"""Points of the grid that the forest fills; of a larger one, so many are drawn."""

MAX_VALUES = 16
"""Values of one param at which the forest is asked."""

NUM_TREES = 64

Effects = dict[str, dict[str, list[dict[str, Any]]]]
"""By task and method: `{"param", "importance"}`, the largest first; the importances sum to 1."""


def effects(results: Iterable[TrialResult]) -> Effects:
    """Return how much each param matters to the validation score, by task and method.

    A config counts with its mean over seeds. Where a method is tried with several models, `model`
    is one of the params. A method with fewer than two scored configs, or all of one score, is left
    out, and so is one whose grid has gaps and fewer than :data:`MIN_CONFIGS` configs.

    Args:
        results: Trials; those without a score on the validation split are passed over.
    """
    groups: dict[tuple[str, str], dict[str, list[TrialResult]]] = defaultdict(dict)
    for result in results:
        score = result.score("validation")
        if score is not None and math.isfinite(score):
            configs = groups[result.trial.task, result.trial.method]
            configs.setdefault(result.trial.config_id, []).append(result)
    found: Effects = {}
    for (task, method), configs in groups.items():
        shares = _shares(list(configs.values()))
        if shares:
            found.setdefault(task, {})[method] = shares
    return found


def importances(params: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> dict[str, float]:
    """Return each param's share of the variance of scores, and that of their interplay.

    Args:
        params: The params of each config, all of them with the same names.
        scores: The score of each.

    Returns:
        Shares by name, :data:`INTERACTIONS` among them, that sum to 1; params that do not vary are
        left out. Empty where there is nothing to explain or too little to go by.
    """
    import numpy as np  # noqa: PLC0415 - numpy is not needed to plan

    levels = {name: _levels([point.get(name) for point in params]) for name in _names(params)}
    levels = {name: values for name, values in levels.items() if len(values) > 1}
    if not levels:
        return {}
    numbers = {
        n: {level: code for code, level in enumerate(values)} for n, values in levels.items()
    }
    rows = [[numbers[n][_key(p.get(n))] for n in levels] for p in params]
    codes, targets = np.array(rows), np.array(scores, dtype=np.float64)
    sizes = [len(values) for values in levels.values()]
    is_complete = len(np.unique(codes, axis=0)) == len(codes) == math.prod(sizes)
    if not is_complete and len(codes) < MIN_CONFIGS:
        return {}
    if is_complete:
        total, parts = _variances_of_grid(targets, codes, sizes)
    else:
        total, parts = _variances_of_forest(targets, codes, sizes)
    if total <= 1e-12 * max(1.0, float(np.square(targets).mean())):
        return {}
    shares = dict(zip(levels, (part / total for part in parts), strict=True))
    rest = 1.0 - sum(shares.values())
    if rest < 0:  # drawn points only: on a whole grid the parts never exceed the total
        shares = {name: share / (1.0 - rest) for name, share in shares.items()}
    return {**shares, INTERACTIONS: max(0.0, rest)}


def _shares(configs: Sequence[Sequence[TrialResult]]) -> list[dict[str, Any]]:
    has_models = len({seeds[0].trial.model for seeds in configs}) > 1
    points, scores = [], []
    for seeds in configs:
        trial = seeds[0].trial
        points.append({**trial.params, **({"model": trial.model} if has_models else {})})
        values = [score for result in seeds if (score := result.score("validation")) is not None]
        scores.append(math.fsum(values) / len(values))
    shares = importances(points, scores)
    ordered = sorted(shares.items(), key=lambda item: (item[0] == INTERACTIONS, -item[1], item[0]))
    return [{"param": name, "importance": share} for name, share in ordered]


def _names(params: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for point in params for name in point})


def _key(value: Any) -> tuple[int, float, str]:
    """Return what sorts a value beside those of other types: numbers by size, before text."""
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, json.dumps(value, sort_keys=True, default=str))


def _levels(values: Sequence[Any]) -> list[tuple[int, float, str]]:
    return sorted({_key(value) for value in values})


def _variances_of_grid(
    scores: np.ndarray, codes: np.ndarray, sizes: Sequence[int]
) -> tuple[float, list[float]]:
    """Return the variance of scores `(configs,)` and that of the marginal means of each param.

    Args:
        scores: One a config.
        codes: Which value of each param it has, `(configs, params)`; every combination once.
        sizes: How many values each param has.
    """
    import numpy as np  # noqa: PLC0415

    grid = np.empty(sizes)
    grid[tuple(codes.T)] = scores
    axes = range(len(sizes))
    marginals = (grid.mean(axis=tuple(a for a in axes if a != axis)) for axis in axes)
    return float(grid.var()), [float(marginal.var()) for marginal in marginals]


def _variances_of_forest(
    scores: np.ndarray, codes: np.ndarray, sizes: Sequence[int]
) -> tuple[float, list[float]]:
    """Return the same of a grid with gaps, as a random forest fills it; arguments as above."""
    import numpy as np  # noqa: PLC0415
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - one second to load

    forest = RandomForestRegressor(NUM_TREES, min_samples_leaf=1, random_state=0)
    forest.fit(codes, scores)
    if math.prod(sizes) <= MAX_POINTS:
        points = np.array(list(itertools.product(*map(range, sizes))))
    else:
        random = np.random.default_rng(0)
        points = np.column_stack([random.integers(size, size=MAX_POINTS) for size in sizes])
    parts = []
    for axis, size in enumerate(sizes):
        marginal = []
        for value in np.unique(np.linspace(0, size - 1, min(size, MAX_VALUES)).round().astype(int)):
            moved = points.copy()
            moved[:, axis] = value
            marginal.append(forest.predict(np.unique(moved, axis=0)).mean())
        parts.append(float(np.var(marginal)))
    return float(forest.predict(points).var()), parts
