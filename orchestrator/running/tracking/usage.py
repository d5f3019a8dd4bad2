"""What trials used, as MLflow's system metrics; measures nothing.

MLflow shows metrics whose names begin with `system/` on a page of their own, apart from scores:
https://mlflow.org/docs/latest/ml/tracking/system-metrics
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from orchestrator.planning.trial import TrialResult

PREFIX = "system/"


def usage_metrics(result: TrialResult) -> dict[str, float]:
    """Return what one trial used, without what was not measured; units stand in the names."""
    values = asdict(result.usage) if result.usage else {}
    return {f"{PREFIX}{name}": value for name, value in values.items() if value is not None}


def sweep_usage(accounts: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what a sweep took, shared stages included, and what sharing saved.

    Args:
        accounts: Those of its report, or None.
    """
    values = {n: v for n, v in (accounts or {}).items() if isinstance(v, int | float)}
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def total_usage(results: Iterable[TrialResult]) -> Mapping[str, float]:
    """Return what trials used together: sums, and of peaks the highest."""
    total: dict[str, float] = {}
    for result in results:
        for name, value in usage_metrics(result).items():
            is_peak = name.startswith(f"{PREFIX}peak_")
            known = total.get(name, 0.0)
            total[name] = max(known, value) if is_peak else known + value
    return total
