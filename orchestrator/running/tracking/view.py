"""How MLflow's table of runs shows the configs of a sweep on one screen; imports no mlflow.

MLflow keeps a view that people share as a tag of the experiment, by a key that stands in the page's
address: https://mlflow.org/docs/latest/ml/tracking (Share). Ours is made the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.running.tracking.records import KIND_TAG, entity_name
from orchestrator.running.tracking.tracker import ConfigSummary

VIEW_KEY = "fanflare"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
VIEW_QUERY = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}"
"""The end of the address of a page that shows the view."""

SCORES = (
    "rank",
    "validation/mean",
    "validation/std",
    "test/mean",
    "test/ci_low",
    "test/ci_high",
    "test/n",
)
_NAME = "attributes.`Run Name`"
MAX_PARAMS = 6
"""Columns of params: more do not fit beside the scores."""


def configs_view(configs: Sequence[ConfigSummary]) -> str:
    """Return the view: configs alone, the best first, with the params in which they differ."""
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.params.items():
            values.setdefault(entity_name(name), set()).add(repr(value))
    varying = [name for name, seen in values.items() if len(seen) > 1]
    given = {entity_name(name) for config in configs for name in config.metrics}
    columns = [f"metrics.`{name}`" for name in SCORES if name in given]
    columns += [f"params.`{name}`" for name in varying[:MAX_PARAMS]]
    state = {
        "searchFilter": f"tags.`{KIND_TAG}` = 'config'",
        # Sorted by a metric, runs are not folded away below their parent.
        "orderByKey": "metrics.`rank`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": [_NAME, *columns],
        "columnWidths": {_NAME: 420, **dict.fromkeys(columns, 110)},
    }
    return json.dumps(state)
