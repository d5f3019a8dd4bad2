"""A new sweep's database is a copy of one that MLflow made: the same, empty, never in the way."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cluster.job import State
from orchestrator.running.tracking import (
    MlflowTracker,
    SweepInfo,
    SweepSummary,
    default_tracking_uri,
)
from tests.mlflow_records import records_of
from tests.tracking_places import result_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing yet."""
    monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> Path:
    """Write a sweep of one trial to the database of a folder, and return its file."""
    tracker = MlflowTracker(default_tracking_uri(folder), folder)
    tracker.start(SweepInfo(name="toy", id="toy", started_at=1.6e9), [result_of(1)])
    tracked = tracker.finish(State.FINISHED, SweepSummary(ended_at=1.7e9))
    assert (tracked.num_written, tracked.faults) == (1, ())
    return folder / "mlflow.db"


def rows(database: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return sorted(connection.execute(query).fetchall(), key=repr)


def test_a_copy_is_what_mlflow_makes(cache: Path, tmp_path: Path) -> None:
    cache.write_text("no folder: nothing can be kept")
    theirs = write(tmp_path / "theirs")
    cache.unlink()
    written = [write(tmp_path / name) for name in ("first", "second")]
    (kept,) = (cache / "mlflow").glob("*.db")
    assert rows(kept, "SELECT * FROM experiments") == []
    # Not the statements themselves: MLflow's migrations put constraints in an order of chance.
    objects = "SELECT type, name, tbl_name FROM sqlite_master"
    columns = "SELECT m.name, c.* FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
    for database in (kept, *written):
        assert rows(database, objects) == rows(theirs, objects)
        assert rows(database, columns) == rows(theirs, columns)
    expected = records_of(default_tracking_uri(theirs.parent), "toy")
    for database in written:
        assert records_of(default_tracking_uri(database.parent), "toy") == expected
        places = rows(database, "SELECT name, artifact_location FROM experiments")
        assert str(database.parent) in dict(places)["toy"]


def test_a_database_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    database = write(tmp_path)
    before = rows(database, "SELECT run_uuid FROM runs")
    write(tmp_path)
    assert rows(database, "SELECT run_uuid FROM runs") == before
    assert not list(tmp_path.glob("blank-*"))


def test_a_folder_that_was_copied_or_moved_keeps_its_artifacts_to_itself(
    cache: Path, tmp_path: Path
) -> None:
    original = write(tmp_path / "original")
    (tmp_path / "original" / "mlflow-artifacts").mkdir(exist_ok=True)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    copy = write(tmp_path / "copy")
    places = {
        database: rows(database, "SELECT artifact_location FROM experiments WHERE name = 'toy'")
        + rows(database, "SELECT artifact_uri FROM runs")
        for database in (original, copy)
    }
    assert len(places[copy]) == len(places[original]) > 1
    for database, found in places.items():
        assert all((database.parent / "mlflow-artifacts").as_uri() in uri for (uri,) in found)
