"""Every kind of tracking store, and results to write to it; for the tests of the tracker."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.job import Cause, Failure, State
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.tracking import (
    MlflowTracker,
    Patience,
    SweepInfo,
    SweepSummary,
    Tracked,
    default_tracking_uri,
)
from tests.servers import MlflowServer, has_postgres, mlflow_server, postgres_server


def client_class() -> Any:
    """Return MlflowClient, imported when a test runs: MLflow sends no telemetry from a test."""
    return importlib.import_module("mlflow").MlflowClient


def die_within(method: str, count: int) -> None:
    """Have this process kill itself within the n-th call of a method of MLflow's client.

    `insert` is no method of it: it writes the rows of a run, where there is a database at hand.
    """
    owner = client_class()
    if method == "insert":
        owner = importlib.import_module("orchestrator.running.tracking.mlflow_rows").RunRows
    original, calls = getattr(owner, method), itertools.count(1)

    def dying(*args: Any, **kwargs: Any) -> Any:
        is_last = next(calls) == count
        if is_last:
            threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGKILL)).start()
        answer = original(*args, **kwargs)
        if is_last:
            time.sleep(60)  # the answer is lost, if it came in time
        return answer

    setattr(owner, method, dying)


@dataclass(frozen=True)
class Place:
    """A tracking store, and the server before it if there is one."""

    uri: str
    folder: Path
    backend: str
    server: MlflowServer | None = None

    def tracker(self, patience: Patience | None = None) -> MlflowTracker:
        return MlflowTracker(self.uri, self.folder, patience)

    def write(self, sweep: str, results: list[TrialResult], **summary: Any) -> Tracked:
        tracker = self.tracker()
        tracker.start(SweepInfo(name=sweep, id=sweep), results)
        tracked = tracker.finish(State.FINISHED, SweepSummary(**summary))
        assert tracked.faults == ()
        assert tracked.num_unwritten == 0
        return tracked

    def client(self) -> Any:
        return client_class()(self.uri)

    def runs(self, sweep: str, kind: str) -> list[Any]:
        client = self.client()
        experiment = client.get_experiment_by_name(sweep)
        return list(
            client.search_runs(
                [experiment.experiment_id], f"tags.`fanflare.kind` = '{kind}'", max_results=5000
            )
        )

    def history(self, run: Any, name: str) -> list[tuple[int, float]]:
        points = self.client().get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.value) for point in points)


BACKENDS = ("sqlite", "server on sqlite", "server on postgres")


@contextmanager
def opened(backend: str, folder: Path) -> Iterator[Place]:
    """Yield an empty tracking store of a kind of :data:`BACKENDS`."""
    uri = default_tracking_uri(folder)
    if backend == "sqlite":
        yield Place(uri, folder, backend)
    elif backend == "server on sqlite":
        with mlflow_server(uri, folder) as server:
            yield Place(server.url, folder, backend, server)
    elif not has_postgres():
        pytest.skip("PostgreSQL is not installed")
    else:
        with postgres_server() as database, mlflow_server(database, folder) as server:
            yield Place(server.url, folder, backend, server)


@pytest.fixture(scope="module", params=BACKENDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    # A space and an umlaut, as in many a home folder.
    with opened(request.param, tmp_path_factory.mktemp("Müllers sweeps", numbered=True)) as found:
        yield found


def result_of(number: int, state: State = State.FINISHED, **changes: Any) -> TrialResult:
    trial = Trial(
        id=f"{number:016x}",
        model="mini-lm",
        task="rotten-tomatoes",
        params={"method": "probe", "learning_rate": 1e-3, "layers": [1, 2]},
        seed=number,
        metric="accuracy",
        mode="max",
        result_digest=f"{number:064x}",
        stages=(),
    )
    finished = {
        "metrics": {"test/accuracy": 0.5 + number / 100, "validation/loss": 0.25},
        "curve": [{"step": step, "train/loss": 1 / step} for step in range(1, 6)],
        "duration_s": 2.5,
    }
    begun = 1_700_000_000 + 10 * number
    return TrialResult(
        trial=trial,
        state=state,
        started_at=begun,
        ended_at=begun + 5.25,
        **{**(finished if state is State.FINISHED else {}), **changes},
    )


def failed(number: int, message: str = "CUDA out of memory") -> TrialResult:
    failure = Failure(Cause.OUT_OF_MEMORY, message)
    return result_of(number, State.FAILED, failure=failure)
