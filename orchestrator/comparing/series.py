"""Scores against what they took: the number of configs tried, the size of the training data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.comparing.configs import ConfigRow, bounds
from orchestrator.planning.trial import TrialResult

MAX_POINTS = 64
"""Points of a budget curve: the first ones all, later ones further apart."""

MAX_CONFIGS = 1000
"""Configs up to which a budget curve is made; its exact order statistics take time with their
square."""

TRAIN_SIZE = "train_size"


def budgets(tasks: Mapping[str, Sequence[ConfigRow]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return, by task and method, what choosing among so many configs is expected to give.

    Two methods are so compared at equal budgets. Methods with one config have no curve, nor have
    those with more than :data:`MAX_CONFIGS`.

    Args:
        tasks: Ranked configs by task.

    Returns:
        Points `{"num_configs", "validation", "test"}`.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for task, rows in tasks.items():
        for method in dict.fromkeys(row.method for row in rows):
            scored = [r for r in rows if r.method == method and _finite(r, "validation")]
            if 1 < len(scored) <= MAX_CONFIGS:
                found.setdefault(task, {})[method] = _budget(scored)
    return found


def _budget(rows: Sequence[ConfigRow]) -> list[dict[str, Any]]:
    from orchestrator.comparing.statistics.budget import expected_best  # noqa: PLC0415 - scipy

    validation = [row.scores["validation"].mean or 0.0 for row in rows]
    has_test = all(_finite(row, "test") for row in rows)
    test = [row.scores["test"].mean or 0.0 for row in rows] if has_test else None
    points = expected_best(validation, test, rows[0].mode)
    return [
        {"num_configs": p.num_configs, "validation": p.validation, "test": p.test}
        for p in (points[number - 1] for number in _thinned(len(points)))
    ]


def _thinned(count: int) -> list[int]:
    """Return numbers from 1 to `count`, evenly apart on a logarithmic scale where they are many."""
    if count <= MAX_POINTS:
        return list(range(1, count + 1))
    return sorted({round(count ** (step / (MAX_POINTS - 1))) for step in range(MAX_POINTS)})


def sizes(
    tasks: Mapping[str, Sequence[ConfigRow]], results: Iterable[TrialResult]
) -> dict[str, list[dict[str, Any]]]:
    """Return, by task, how the test score grows with the training data, where its size is an axis.

    At each size it is that of the config that validation chooses for the model and method.

    Args:
        tasks: Ranked configs by task.
        results: Their trials; these know how many rows a fraction, or a number per class, came to.

    Returns:
        Curves `{"label", "points": [{"train_size", "mean", "ci", "n"}]}`, sizes in rows.
    """
    num_rows = _train_rows(results)
    found: dict[str, list[dict[str, Any]]] = {}
    for task, rows in tasks.items():
        curves: dict[str, dict[float, ConfigRow]] = {}
        for row in rows:
            size = num_rows.get(row.config_id, row.params.get(TRAIN_SIZE))
            is_point = TRAIN_SIZE in row.params and isinstance(size, int | float)
            if is_point and _finite(row, "test"):
                label = " ".join(part for part in (row.model, row.method) if part)
                curves.setdefault(label, {}).setdefault(size or 0, row)
        made = [
            {
                "label": label,
                "points": [_size_point(size, by_size[size]) for size in sorted(by_size)],
            }
            for label, by_size in curves.items()
        ]
        if made:
            found[task] = made
    return found


def _train_rows(results: Iterable[TrialResult]) -> dict[str, int]:
    """Return by config how many rows it trained on, where its trials say so."""
    found: dict[str, int] = {}
    for result in results:
        for dataset in result.datasets:
            if dataset.get("split") == "train" and dataset.get("num_rows"):
                found[result.trial.config_id] = int(dataset["num_rows"])
    return found


def _size_point(size: float, row: ConfigRow) -> dict[str, Any]:
    summary = row.scores["test"]
    return {"train_size": size, "mean": summary.mean, "ci": bounds(summary.ci), "n": summary.n}


def _finite(row: ConfigRow, split: str) -> bool:
    mean = row.scores[split].mean
    return mean is not None and math.isfinite(mean)
