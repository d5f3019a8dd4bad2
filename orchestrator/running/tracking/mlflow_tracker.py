"""The tracker that writes to MLflow from background threads; only the store talks to MLflow."""

from __future__ import annotations

import importlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.job import State
from orchestrator.planning.trial import TrialResult
from orchestrator.running.tracking.detail import Detail
from orchestrator.running.tracking.lane import Lane, Patience, Task
from orchestrator.running.tracking.moved import FOLDER, follow
from orchestrator.running.tracking.records import RunRecord, config_record, trial_record
from orchestrator.running.tracking.tracker import (
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

Key = tuple[str, str]
"""What a task is about: kind and id of a run; the id is empty for what concerns the sweep."""

_SWEEP: Key = ("sweep", "")
_SUMMARY: Key = ("summary", "")
_RUNS: Mapping[Detail, tuple[str, ...]] = {
    "trial": ("trial", "config"),
    "config": ("config",),
    "sweep": (),
}
"""The kinds of run that are made beside the sweep's own."""

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
        on_progress: Called by the writing threads, with how much is done and how much is due.
    """

    def __init__(
        self,
        uri: str,
        artifact_folder: Path,
        patience: Patience | None = None,
        on_progress: Callable[[int, int], None] = lambda num_done, num_due: None,
    ) -> None:
        self._uri = with_driver(uri)
        self._artifact_folder = artifact_folder
        self._patience = patience or Patience()
        self._store: MlflowStore | None = None
        self._opening = threading.Lock()
        self._lanes: list[Lane] = []
        self._on_progress = on_progress
        self._due: set[Key] = set()
        self._done: set[Key] = set()

    def start(self, sweep: SweepInfo, results: Sequence[TrialResult] = ()) -> None:
        """Begin to show a sweep; results that MLflow already holds are not written again."""
        self._sweep = sweep
        self._lanes = [
            Lane(self._is_down, self._patience, f"mlflow-writer-{number}")
            for number in range(1 if sqlite_path(self._uri) else NUM_LANES)
        ]
        self._put(_SWEEP, lambda: self._opened().begin())
        for result in results:
            self.record(result)

    def record(self, result: TrialResult) -> None:
        """Show how a trial ended; a result that is not final is left out."""
        if result.state.is_final():
            key = ("trial", result.trial.id)
            self._put(key, partial(self._write, key, partial(trial_record, result)))

    def finish(self, state: State, summary: SweepSummary) -> Tracked:
        """Write what is still waiting, then the summary; return what was written.

        A store that takes nothing is waited for as long as patience lasts, and no longer.
        """
        for config in summary.configs:
            key = ("config", config.config_id)
            self._put(key, partial(self._write, key, partial(config_record, config)))
        try:
            self._drain(lambda: self._opened().finish(state, summary))
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if self._store:
            self._store.close()
        left = self._due - self._done
        return Tracked(
            num_written=_num_trials(self._done),
            num_unwritten=_num_trials(left),
            is_complete=not left,
            faults=tuple(dict.fromkeys(fault for lane in self._lanes for fault in lane.faults)),
            experiment_id=self._store.experiment_id if self._store else "",
        )

    def close(self) -> None:
        """Give up what is still waiting; needed only where `finish` was not called."""
        for lane in self._lanes:
            lane.stop()

    def _drain(self, last: Callable[[], None]) -> None:
        """Wait for all that is to be written, and for one thing that comes after all else."""
        first, *others = self._lanes
        since = time.monotonic()
        for lane in others:
            since = lane.drain(since)
        self._put(_SUMMARY, last)
        first.drain(since)

    def _put(self, key: Key, action: Callable[[], None]) -> None:
        self._due.add(key)
        # One lane for all that concerns one run keeps it in order; the sweep's is the first.
        kind, owner = key
        number = zlib.crc32(owner.encode()) % len(self._lanes) if owner else 0
        self._lanes[number].put(Task(owner or kind, partial(self._do, key, action)))

    def _do(self, key: Key, action: Callable[[], None]) -> None:
        action()
        if key in self._due:
            self._done.add(key)
        self._on_progress(len(self._done), len(self._due))

    def _write(self, key: Key, record: Callable[[], RunRecord]) -> None:
        """Write a run if this sweep shows such runs, or has one from when it was smaller."""
        store = self._opened()
        if key[0] in _RUNS[self._sweep.detail] or store.has_run(key):
            store.write(record())
        else:
            self._due.discard(key)

    def _opened(self) -> MlflowStore:
        """Return the store, opened by whichever lane comes first."""
        with self._opening:
            if self._store is None:
                for name, value in MLFLOW_SETTINGS.items():
                    os.environ.setdefault(name, value)
                # MLflow takes seconds to import: here it delays no one.
                module = importlib.import_module("orchestrator.running.tracking.mlflow_store")
                if database := sqlite_path(self._uri):
                    follow(database, self._sweep.name)
                self._store = module.MlflowStore.open(
                    self._uri, self._sweep, self._artifact_location()
                )
            return self._store

    def _artifact_location(self) -> str | None:
        if is_server(self._uri):
            return None
        database = sqlite_path(self._uri)
        folder = database.parent / FOLDER if database else self._artifact_folder
        return folder.resolve().as_uri()

    def _is_down(self) -> bool:
        return check_tracking_uri(self._uri) is not None


def _num_trials(keys: set[Key]) -> int:
    return sum(kind == "trial" for kind, _ in keys)
