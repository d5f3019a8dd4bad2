"""Runs that are written as rows: the tables that are known, and what becomes of others."""

from __future__ import annotations

import sqlite3
from importlib import import_module
from pathlib import Path

import pytest

from cluster.job import State
from orchestrator.running.tracking import (
    ConfigSummary,
    MlflowTracker,
    Patience,
    SweepInfo,
    SweepSummary,
    default_tracking_uri,
)
from orchestrator.running.tracking.uris import sqlite_path, with_driver
from tests.mlflow_records import records_of
from tests.tracking_places import failed, result_of

DATASETS = [
    {"name": "rt", "digest": "f" * 64, "split": split, "num_rows": 10, "source": "hf://rt"}
    for split in ("train", "test", "train")
]
RESULTS = [result_of(1, datasets=DATASETS), result_of(2, datasets=DATASETS), failed(3)]
CONFIG = ConfigSummary(config_id="c", name="c", metrics={"n": 3}, ended_at=1_700_000_000)
SWEEP = SweepInfo(name="rows", id="rows", started_at=1_600_000_000)


def write(uri: str, folder: Path) -> None:
    tracker = MlflowTracker(uri, folder)
    tracker.start(SWEEP, RESULTS)
    summary = SweepSummary(configs=[CONFIG], ended_at=1_700_000_000)
    assert tracker.finish(State.FINISHED, summary).faults == ()


def count(uri: str, table: str) -> int:
    """Return how many rows a table of the database has."""
    connection = sqlite3.connect(str(sqlite_path(uri)))
    try:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found)
    finally:
        connection.close()


def called(monkeypatch: pytest.MonkeyPatch, uri: str) -> list[str]:
    """Return a list that grows with the runs which MLflow's own calls make."""
    names: list[str] = []
    client_class = type(
        import_module("orchestrator.running.tracking.mlflow_client").open_client(uri)
    )
    original = client_class.create_run

    def create_run(*args: object, **kwargs: object) -> object:
        names.append("create_run")
        return original(*args, **kwargs)

    monkeypatch.setattr(client_class, "create_run", create_run)
    return names


def test_rows_read_as_what_mlflow_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (default_tracking_uri(tmp_path / name) for name in ("ours", "theirs"))
    by_calls = called(monkeypatch, theirs)
    # As after an update of MLflow that adds a column of which nothing is known here.
    connection = sqlite3.connect(str(sqlite_path(theirs)))
    connection.execute("ALTER TABLE tags ADD COLUMN colour TEXT")
    connection.close()
    write(theirs, tmp_path)
    assert len(by_calls) == 5, "the sweep, three trials and a config"

    by_calls.clear()
    write(ours, tmp_path)

    assert len(by_calls) == 1, "the sweep: the installed MLflow's tables are those that are known"
    assert records_of(ours, "rows") == records_of(theirs, "rows")
    tables = ("runs", "tags", "params", "metrics", "latest_metrics", "datasets", "inputs")
    for table in (*tables, "input_tags"):
        assert count(ours, table) == count(theirs, table), table


def test_a_database_of_another_kind_holds_the_same(postgres_uri: str, tmp_path: Path) -> None:
    sqlite = default_tracking_uri(tmp_path)
    write(sqlite, tmp_path)
    uri = with_driver(postgres_uri)
    write(uri, tmp_path)
    assert records_of(uri, "rows") == records_of(sqlite, "rows")


def test_a_run_whose_writing_fails_leaves_no_row(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    write(uri, tmp_path)
    before = {table: count(uri, table) for table in ("runs", "tags", "metrics", "inputs")}
    connection = sqlite3.connect(str(sqlite_path(uri)))
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON inputs BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    connection.close()

    tracker = MlflowTracker(uri, tmp_path, Patience(num_tries=1))
    tracker.start(SWEEP, [result_of(4, datasets=DATASETS)])
    tracked = tracker.finish(State.FINISHED, SweepSummary(ended_at=1_700_000_000))

    assert tracked.num_unwritten == 1
    assert "full" in tracked.faults[0]
    assert {table: count(uri, table) for table in before} == before
