"""The tracker that writes to MLflow from background threads; only the store talks to MLflow."""

from __future__ import annotations

import importlib
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.job import State
from orchestrator.planning.trial import TrialResult
from orchestrator.running.tracking.lane import Lane, Patience, Task
from orchestrator.running.tracking.records import config_record, trial_record
from orchestrator.running.tracking.tracker import (
    ConfigSummary,
    NullTracker,
    SweepInfo,
    SweepSummary,
    Tracked,
    Tracker,
)
from orchestrator.running.tracking.uris import (
    check_tracking_uri,
    is_server,
    sqlite_path,
    with_driver,
)

if TYPE_CHECKING:
    from orchestrator.running.tracking.mlflow_store import MlflowStore

NUM_LANES = 4
"""Writers to a server, where waiting for answers takes most of the time. SQLite takes one
writer at a time, and more of them would only wait for its lock."""

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Environment variables that MLflow reads and offers no argument for; the user's own values stand.
Its retries are off because they repeat a lost `create_run` blindly; ours look first."""


def open_tracker(uri: str | None, artifact_folder: Path) -> Tracker:
    """Return the tracker for a tracking URI, or the silent one for `tracking: off`, None.

    Opens nothing yet and imports no mlflow; `check_tracking_uri` comes before it.
    """
    return NullTracker() if uri is None else MlflowTracker(uri, artifact_folder)


class MlflowTracker:
    """Shows a sweep in MLflow: one parent run, one child a trial, one child a config.

    Args:
        uri: The tracking URI; see `check_tracking_uri` for what is allowed.
        artifact_folder: Where artifacts go if the URI names a database other than SQLite;
            those of SQLite go beside its file, and a server keeps its own.
        patience: How long to wait for a store that is down.
    """

    def __init__(self, uri: str, artifact_folder: Path, patience: Patience | None = None) -> None:
        self._uri = with_driver(uri)
        self._artifact_folder = artifact_folder
        self._patience = patience or Patience()
        self._store: MlflowStore | None = None
        self._opening = threading.Lock()
        self._lanes: list[Lane] = []
        self._recorded: set[str] = set()
        self._written: set[str] = set()

    def start(self, sweep: SweepInfo, results: Sequence[TrialResult] = ()) -> None:
        """Begin to show a sweep; results that MLflow already holds are not written again."""
        self._sweep = sweep
        self._lanes = [
            Lane(self._is_down, self._patience, f"mlflow-writer-{number}")
            for number in range(1 if sqlite_path(self._uri) else NUM_LANES)
        ]
        self._lanes[0].put(Task(f"sweep {sweep.name}", lambda: self._opened().begin()))
        for result in results:
            self.record(result)

    def record(self, result: TrialResult) -> None:
        """Show how a trial ended; a result that is not final is left out."""
        if result.state.is_final():
            self._recorded.add(result.trial.id)
            self._put(result.trial.id, partial(self._write_trial, result))

    def finish(self, state: State, summary: SweepSummary) -> Tracked:
        """Write what is still waiting, then the summary; return what was written."""
        for config in summary.configs:
            self._put(config.config_id, partial(self._write_config, config))
        # The summary comes last: its lane is drained after all others.
        first, *others = self._lanes
        for lane in others:
            lane.drain()
        first.put(Task("summary", lambda: self._opened().finish(state, summary)))
        first.drain()
        return Tracked(
            num_written=len(self._written),
            num_unwritten=len(self._recorded - self._written),
            faults=tuple(dict.fromkeys(fault for lane in self._lanes for fault in lane.faults)),
            experiment_id=self._store.experiment_id if self._store else "",
        )

    def close(self) -> None:
        """Give up what is still waiting; needed only where `finish` was not called."""
        for lane in self._lanes:
            lane.stop()

    def _put(self, owner: str, action: Callable[[], None]) -> None:
        # One lane for all that concerns one run keeps it in order.
        lane = self._lanes[zlib.crc32(owner.encode()) % len(self._lanes)]
        lane.put(Task(owner, action))

    def _write_trial(self, result: TrialResult) -> None:
        self._opened().write(trial_record(result))
        self._written.add(result.trial.id)

    def _write_config(self, config: ConfigSummary) -> None:
        self._opened().write(config_record(config))

    def _opened(self) -> MlflowStore:
        """Return the store, opened by whichever lane comes first."""
        with self._opening:
            if self._store is None:
                for name, value in MLFLOW_SETTINGS.items():
                    os.environ.setdefault(name, value)
                # MLflow takes seconds to import: here it delays no one.
                module = importlib.import_module("orchestrator.running.tracking.mlflow_store")
                self._store = module.MlflowStore.open(
                    self._uri, self._sweep, self._artifact_location()
                )
            return self._store

    def _artifact_location(self) -> str | None:
        if is_server(self._uri):
            return None
        database = sqlite_path(self._uri)
        folder = database.parent / "mlflow-artifacts" if database else self._artifact_folder
        return folder.resolve().as_uri()

    def _is_down(self) -> bool:
        return check_tracking_uri(self._uri) is not None
