"""Every kind of tracking store, and results to write to it; for the tests of the tracker."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
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
from tests.fresh_processes import forked
from tests.servers import (
    MlflowServer,
    PostgresServer,
    has_postgres,
    mlflow_server,
    postgres_server,
)

BACKENDS = ("sqlite", "server on sqlite", "server on postgres")


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


def run_until_killed(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a process of its own, which kills itself on the way."""
    process = forked().Process(target=function, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


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


class Places:
    """The tracking stores of a test session, each opened when a test first asks for it.

    Tests that share one keep apart by the names of their sweeps.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._opened: dict[str, Place] = {}

    @functools.cached_property
    def postgres(self) -> PostgresServer:
        """The one PostgreSQL cluster; the test is skipped where there can be none."""
        if not has_postgres():
            pytest.skip("PostgreSQL is not installed")
        return self._stack.enter_context(postgres_server())

    def get(self, backend: str) -> Place:
        """Return the tracking store of a kind of :data:`BACKENDS`."""
        if backend not in self._opened:
            self._opened[backend] = self._open(backend)
        return self._opened[backend]

    def _open(self, backend: str) -> Place:
        # A space and an umlaut, as in many a home folder.
        folder = self._folder / f"Müllers {backend}"
        folder.mkdir()
        uri = default_tracking_uri(folder)
        if backend == "sqlite":
            return Place(uri, folder, backend)
        if backend == "server on sqlite":
            blank = importlib.import_module("orchestrator.running.tracking.mlflow_blank")
            blank.copy_blank_database(folder / "mlflow.db")
        else:
            uri = self.postgres.new_database()
        server = self._stack.enter_context(mlflow_server(uri, folder))
        return Place(server.url, folder, backend, server)


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
