"""Whole runs as rows of MLflow's tables, a transaction each; knows a database, and no server.

MLflow's calls take some fifty statements and eight transactions for a run, each made by its
object-relational layer: 25 ms of a processor, and most of what a sweep of short trials costs its
driver. The same rows are written here by eight statements, with nothing between them for a killed
process to leave behind. Tables that are not as this module knows them are left to MLflow's calls.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import column, insert, inspect, select, table

from orchestrator.running.tracking.known import KnownRun
from orchestrator.running.tracking.records import DatasetUse, Point, RunRecord

Row = Mapping[str, Any]

_COLUMNS = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time"
    " end_time deleted_time source_version lifecycle_stage artifact_uri experiment_id",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp step is_nan run_uuid",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source"
    " dataset_schema dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
TABLES = MappingProxyType(
    {name: table(name, *map(column, columns.split())) for name, columns in _COLUMNS.items()}
)
"""What a run consists of, as MLflow 3 keeps it; all columns are written."""


NAME_TAG = "mlflow.runName"
CONTEXT_TAG = "mlflow.data.context"
"""MLflow's own tags: the name of a run, and which split of its data a data set is."""


class RunRows:
    """Inserts the children of one run.

    Args:
        engine: The SQLAlchemy engine of MLflow's database, whose tables are as in :data:`TABLES`.
        parent: The `mlflow.entities.RunInfo` of a run that MLflow made: its children get the same
            experiment, and artifacts beside its own.
    """

    def __init__(self, engine: Any, parent: Any) -> None:
        self._engine = engine
        self._parent = parent

    @classmethod
    def open(cls, engine: Any | None, parent: Any) -> RunRows | None:
        """Return None where MLflow's calls are the only way: a server, tables of another MLflow."""
        return cls(engine, parent) if engine is not None and is_known(engine) else None

    def insert(self, record: RunRecord, tags: Mapping[str, str]) -> KnownRun:
        """Write a run that is not there yet, all of it or nothing.

        Args:
            record: What it shows, its tags excepted.
            tags: All of its tags.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database did not take it.
        """
        run_id = uuid.uuid4().hex
        points = list(dict.fromkeys(record.points))
        rows: dict[str, list[Row]] = {
            "runs": [self._run(run_id, record)],
            "tags": _pairs(run_id, {**tags, NAME_TAG: record.name}),
            "params": _pairs(run_id, record.params),
            "metrics": _points(run_id, points),
            "latest_metrics": _points(run_id, _latest(points)),
        }
        with self._engine.begin() as connection:
            _insert(connection, rows)
            # Now that this transaction may write, nobody else can add a data set on SQLite.
            if record.datasets:
                _insert(connection, self._inputs(connection, run_id, record.datasets))
        return KnownRun(
            id=run_id,
            state=str(record.state),
            ended_ms=record.ended_ms,
            tags=record.tags,
            params=frozenset(record.params),
        )

    def _run(self, run_id: str, record: RunRecord) -> Row:
        now_ms = round(time.time() * 1000)
        return {
            "run_uuid": run_id,
            "name": record.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": str(record.state),
            "start_time": record.started_ms or now_ms,
            "end_time": record.ended_ms or now_ms,
            "deleted_time": None,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": self._parent.artifact_uri.replace(self._parent.run_id, run_id),
            "experiment_id": int(self._parent.experiment_id),
        }

    def _inputs(
        self, connection: Any, run_id: str, uses: Iterable[DatasetUse]
    ) -> dict[str, list[Row]]:
        """Return the rows of the data sets of a run, and of those that are new."""
        # MLflow knows a data set by these two, and keeps one use of it a run.
        named: dict[tuple[str, str], DatasetUse] = {}
        for use in uses:
            named.setdefault((use.name, use.digest), use)
        known = self._datasets(connection, named)
        ids = {key: known.get(key) or uuid.uuid4().hex for key in named}
        inputs = {key: uuid.uuid4().hex for key in named}
        return {
            "datasets": [self._dataset(ids[k], use) for k, use in named.items() if k not in known],
            "inputs": [
                {
                    "input_uuid": inputs[key],
                    "source_type": "DATASET",
                    "source_id": ids[key],
                    "destination_type": "RUN",
                    "destination_id": run_id,
                    "step": 0,
                }
                for key in named
            ],
            "input_tags": [
                {"input_uuid": inputs[key], "name": CONTEXT_TAG, "value": use.split}
                for key, use in named.items()
            ],
        }

    def _datasets(
        self, connection: Any, named: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        """Return the ids of the data sets that the experiment has already, by name and digest."""
        of = TABLES["datasets"].c
        query = select(of.name, of.digest, of.dataset_uuid).where(
            of.experiment_id == int(self._parent.experiment_id),
            of.name.in_({name for name, _ in named}),
            of.digest.in_({digest for _, digest in named}),
        )
        return {(name, digest): found for name, digest, found in connection.execute(query)}

    def _dataset(self, dataset_id: str, use: DatasetUse) -> Row:
        return {
            "dataset_uuid": dataset_id,
            "experiment_id": int(self._parent.experiment_id),
            "name": use.name,
            "digest": use.digest,
            "dataset_source_type": "fanflare",
            "dataset_source": use.source,
            "dataset_schema": None,
            "dataset_profile": use.profile,
        }


def is_known(engine: Any) -> bool:
    """Return whether the tables of a database are those that this module writes."""
    found = inspect(engine).get_multi_columns(filter_names=list(TABLES))
    columns = {name: {c["name"] for c in found} for (_, name), found in found.items()}
    return columns == {name: set(known.columns.keys()) for name, known in TABLES.items()}


def _insert(connection: Any, rows: Mapping[str, list[Row]]) -> None:
    for name, some in rows.items():
        if some:
            connection.execute(insert(TABLES[name]), some)


def _pairs(run_id: str, values: Mapping[str, str]) -> list[Row]:
    return [{"key": key, "value": value, "run_uuid": run_id} for key, value in values.items()]


def _points(run_id: str, points: Iterable[Point]) -> list[Row]:
    return [
        {
            "key": point.name,
            "value": point.value,
            "timestamp": point.timestamp_ms,
            "step": point.step,
            "is_nan": False,
            "run_uuid": run_id,
        }
        for point in points
    ]


def _latest(points: Iterable[Point]) -> list[Point]:
    """Return the point of each metric that MLflow calls its latest, metrics in their order."""
    latest: dict[str, Point] = {}
    for point in points:
        known = latest.setdefault(point.name, point)
        if (point.step, point.timestamp_ms, point.value) > (
            known.step,
            known.timestamp_ms,
            known.value,
        ):
            latest[point.name] = point
    return list(latest.values())
