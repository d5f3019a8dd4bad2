"""Learning curves of configs: mean and band over seeds, step by step; draws nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from orchestrator.planning.trial import TrialResult

COORDINATES = ("step", "epoch")
"""Keys of a curve's points that say where a value was taken."""

Curves = dict[str, dict[str, list[dict[str, Any]]]]
"""By config id and metric: points `{"step", "mean", "low", "high", "n"}`, steps ascending."""


def curves(results: Iterable[TrialResult]) -> Curves:
    """Return the learning curves of configs.

    Seeds that stopped early lack the later steps: the mean of a step is over those that have it,
    and `n` says how many these are. The band is the 95% interval of Student's t; `low` and `high`
    are None for a single seed. Values that are no finite number are left out.

    Args:
        results: Trials with their curves; a trial without one is passed over.
    """
    seeds: dict[str, dict[str, dict[int, list[float]]]] = {}
    for result in results:
        if result.curve:
            metrics = seeds.setdefault(result.trial.config_id, {})
            for point in result.curve:
                _add(metrics, point)
    return {
        config_id: {
            name: [_point(step, steps[step]) for step in sorted(steps)]
            for name, steps in sorted(metrics.items())
        }
        for config_id, metrics in seeds.items()
        if metrics
    }


def _add(metrics: dict[str, dict[int, list[float]]], point: Mapping[str, Any]) -> None:
    for name, value in point.items():
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if name not in COORDINATES and is_number:
            steps = metrics.setdefault(name, defaultdict(list))
            steps[int(point["step"])].append(float(value))


def _point(step: int, values: list[float]) -> dict[str, Any]:
    n, mean = len(values), math.fsum(values) / len(values)
    half = None
    if n > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        half = _t_quantile(n) * math.sqrt(variance / n)
    return {
        "step": step,
        "mean": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "n": n,
    }


@cache
def _t_quantile(n: int) -> float:
    """Return by how many standard errors a 95% interval reaches to each side of a mean of n.

    A sweep has tens of thousands of points, so this is asked once for each n.
    """
    from scipy import special  # noqa: PLC0415 - not needed to plan

    return float(special.stdtrit(n - 1, 0.975))
