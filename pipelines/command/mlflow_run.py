"""An MLflow run for a script to write into, and what it wrote; imports no mlflow.

The run lives in a SQLite file of the trial's own, made by MLflow itself in a child process and
read with the standard library: the tables `runs`, `metrics` and `latest_metrics` are MLflow's
oldest, while a client would cost each trial a second for the import alone.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipelines.command.metrics import Reported
from pipelines.contract import Context, InputError
from pipelines.sources.cache import cache_folder, made_once

_FOREIGN = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
"""Variables that would send the script to an experiment other than that of its run."""


@dataclass(frozen=True, kw_only=True)
class MlflowRun:
    """One open run in a private database."""

    database: Path
    run_id: str

    @property
    def environment(self) -> Mapping[str, str | None]:
        """The variables by which MLflow finds the run; None takes one away."""
        return {
            **dict.fromkeys(_FOREIGN),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.database}",
            "MLFLOW_RUN_ID": self.run_id,
        }

    def read(self) -> Reported:
        """Return what was logged to the run; where nothing was, to the newest other run.

        Raises:
            InputError: Nothing was logged.
        """
        with closing(sqlite3.connect(self.database)) as database:
            runs = database.execute(
                "SELECT run_uuid FROM runs ORDER BY run_uuid = ? DESC, start_time DESC",
                [self.run_id],
            ).fetchall()
            for (run_id,) in runs:
                if (reported := _read(database, run_id)).final:
                    return reported
        raise InputError(
            "the command logged no metric to MLflow; its run is in MLFLOW_RUN_ID and "
            "MLFLOW_TRACKING_URI, so it must not set another tracking URI itself",
            key="metrics",
        )


def open_run(context: Context) -> MlflowRun:
    """Return a run of the trial's own, in a copy of a database that this machine keeps."""
    database = context.scratch / "mlflow.db"
    try:
        shutil.copyfile(_template(), database)
    except OSError:  # nothing can be kept on this machine
        _make(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        folder = (context.scratch / "mlflow").as_uri()  # what the script logs as artifacts
        connection.execute("UPDATE experiments SET artifact_location = ?", [folder])
        connection.execute("UPDATE runs SET artifact_uri = ?", [folder])
        ((run_id,),) = connection.execute("SELECT run_uuid FROM runs")
    return MlflowRun(database=database, run_id=run_id)


def _template() -> Path:
    """Return a database with one run, as the MLflow that is installed here makes it.

    A new database takes MLflow five seconds, so each version of it makes one, once.
    """
    version = importlib.metadata.version("mlflow")
    return made_once(cache_folder() / "mlflow-run" / f"{version}.db", _make)


def _make(database: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", "import mlflow; mlflow.MlflowClient().create_run('0')"],
        cwd=database.parent,
        # A path of its own may have characters that MLflow would decode.
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database.name}"},
        capture_output=True,
        check=True,
    )


def _read(database: sqlite3.Connection, run_id: str) -> Reported:
    final = database.execute(
        "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key", [run_id]
    )
    points: dict[int, dict[str, float]] = defaultdict(dict)
    history = database.execute(
        "SELECT step, key, value FROM metrics WHERE run_uuid = ? AND NOT is_nan "
        "ORDER BY step, timestamp",
        [run_id],
    )
    for step, name, value in history:
        points[step][name] = _given(value)
    return Reported(
        final={name: float("nan") if is_nan else _given(value) for name, value, is_nan in final},
        curve=[{**point, "step": step} for step, point in points.items()]
        if len(points) > 1
        else [],
    )


def _given(value: float) -> float:
    """Return what the script logged: MLflow's SQL store writes the largest float for infinity."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
