"""Results as a table, one row a trial; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.planning.trial import TrialResult, TrialUsage

if TYPE_CHECKING:
    import pyarrow as pa


def result_rows(results: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """Return one flat mapping a trial: identity, `params.NAME`, state, `split/metric`, seconds."""
    return [
        {
            "trial_id": result.trial.id,
            "config_id": result.trial.config_id,
            "model": result.trial.model,
            "task": result.trial.task,
            "method": result.trial.method,
            "seed": result.trial.seed,
            **{f"params.{name}": value for name, value in result.trial.params.items()},
            "state": str(result.state),
            "fidelity": result.label,
            **result.metrics,
            "duration_s": result.duration_s,
            **asdict(result.usage or TrialUsage()),
            "cause": str(result.failure.cause) if result.failure else None,
            "message": result.failure.message if result.failure else None,
        }
        for result in results
    ]


def result_table(results: Sequence[TrialResult]) -> pa.Table:
    """Return the rows as an Arrow table; mappings and mixed types stand in it as JSON text."""
    import pyarrow as pa  # noqa: PLC0415 - the leaderboard alone needs no Arrow

    rows = result_rows(results)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: _array(values) for name, values in columns.items()})


def _array(values: Sequence[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if not any(isinstance(value, Mapping) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pass  # mixed types
    return pa.array([None if value is None else json.dumps(value) for value in values])
