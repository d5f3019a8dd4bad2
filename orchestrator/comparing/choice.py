"""Which config validation chooses for each task, model and method; never looks at the test split.

The best test score of any config stands beside it, and chooses nothing: taken over many configs, it
is high by luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparing.configs import ConfigRow, rank_key

SWEEP = "sweep"
"""The param by which the configs of joined sweeps are told apart."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The config of one task, model and method with the best validation mean."""

    row: ConfigRow
    num_configs: int
    """From how many it was chosen: those that have a validation score."""
    best_seen: ConfigRow | None
    """The config among these with the best test mean; None where none has one."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        row, best = self.row, self.best_seen
        return {
            "task": row.task,
            "model": row.model,
            "method": row.method,
            "config_id": row.config_id,
            "params": dict(row.params),
            "num_configs": self.num_configs,
            "metric": row.metric,
            "mode": row.mode,
            "validation": row.scores["validation"].to_json(),
            "test": row.scores["test"].to_json(),
            "best_seen": best
            and {
                "config_id": best.config_id,
                "params": dict(best.params),
                "mean": best.scores["test"].mean,
            },
        }


def choose(tasks: Mapping[str, Sequence[ConfigRow]]) -> list[Chosen]:
    """Return the chosen configs, task by task in the order in which they rank.

    Of joined sweeps each has its own choice where they are told apart.

    Args:
        tasks: Ranked configs by task.
    """
    groups: dict[tuple[str, str, str, str], list[ConfigRow]] = {}
    for task, rows in tasks.items():
        for row in rows:
            mean = row.scores["validation"].mean
            if mean is not None and not math.isnan(mean):
                key = (task, row.model, row.method, str(row.params.get(SWEEP, "")))
                groups.setdefault(key, []).append(row)
    return [
        Chosen(row=rows[0], num_configs=len(rows), best_seen=_best_seen(rows))
        for rows in groups.values()
    ]


def _best_seen(rows: Sequence[ConfigRow]) -> ConfigRow | None:
    best = min(rows, key=lambda row: rank_key(row.scores["test"].mean, row.mode))
    return best if best.scores["test"].n else None
