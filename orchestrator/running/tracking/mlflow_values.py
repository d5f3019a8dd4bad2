"""What MLflow is given, as its entities or its texts; knows no sweep and calls nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from orchestrator.running.tracking.records import DatasetUse


def dataset_input(use: DatasetUse) -> DatasetInput:
    """Return the use of a data set by a run."""
    dataset = Dataset(use.name, use.digest, "fanflare", use.source, profile=use.profile)
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, use.split)])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as MLflow keeps tables. Its own `log_table` adds to the rows of earlier runs."""
    columns = list(rows[0])
    data = [[row.get(column) for column in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, default=str)
