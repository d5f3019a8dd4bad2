"""Trials per second written to MLflow: fanflare's tracker against MLflow's own calls.

    python -m benchmarks.tracking [--trials 100] [--blocks 5] [--stores sqlite server ...]

A trial has 8 params, 15 metric points and 3 tags. The sides take turns, block by block, on one
store; the figures are medians over the blocks. The rivals: `raw` is MlflowClient with the fewest
calls that there are, `create_run` with the tags, one `log_batch`, `set_terminated`; `fluent` is
`mlflow.start_run`, `set_tags`, `log_params` and a `log_metrics` a step, as most scripts have it.
On SQLite each rival has a database as MLflow makes it, and `raw, our database` one that
fanflare has opened, with a write-ahead log and commits that do not wait for the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
from mlflow.entities import Metric, Param

from cluster.job import State
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.tracking import MlflowTracker, SweepInfo, SweepSummary
from tests.servers import has_postgres, mlflow_server, postgres_server

NUM_STEPS = 5
PARAMS = {"method": "probe", "learning_rate": 1e-3, "epochs": 5, "batch_size": 32, "layers": "all"}
TAGS = {"fanflare.kind": "trial", "fanflare.model": "mini-lm", "fanflare.task": "rotten-tomatoes"}
NUMBERS = itertools.count()

Side = Callable[[int], None]
"""Writes so many trials, and returns when the store has them."""


def curve(number: int) -> list[dict[str, float]]:
    """Return a curve of ten points."""
    return [
        {"step": step, "train/loss": 1 / step, "validation/loss": 2 / step + number}
        for step in range(1, NUM_STEPS + 1)
    ]


def finals(number: int) -> dict[str, float]:
    """Return the four final numbers of a trial; its duration is the fifteenth point."""
    names = ("validation/accuracy", "validation/f1", "test/accuracy", "test/f1")
    return dict.fromkeys(names, number + 0.5)


class Fanflare:
    """Writes through the tracker, as a run does, waiting for each block to be in the store."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._done = threading.Condition()
        self._num_done = 0
        self._tracker = MlflowTracker(uri, folder, on_progress=self._progressed)
        self._tracker.start(SweepInfo(name="fanflare", id="fanflare"))
        self._wait_for(1)

    def __call__(self, num_trials: int) -> None:
        """Write so many trials."""
        goal = self._num_done + num_trials
        for number in itertools.islice(NUMBERS, num_trials):
            self._tracker.record(_result(number))
        self._wait_for(goal)

    def close(self) -> None:
        """End the sweep."""
        tracked = self._tracker.finish(State.FINISHED, SweepSummary())
        if not tracked.is_complete:
            raise SystemExit(f"fanflare left something unwritten: {tracked.faults}")

    def _progressed(self, num_done: int, num_due: int) -> None:
        with self._done:
            self._num_done = num_done
            self._done.notify_all()

    def _wait_for(self, goal: int) -> None:
        with self._done:
            self._done.wait_for(lambda: self._num_done >= goal)


def _result(number: int) -> TrialResult:
    trial = Trial(
        id=f"{number:016x}",
        model="mini-lm",
        task="rotten-tomatoes",
        params=PARAMS,
        seed=number,
        metric="accuracy",
        mode="max",
        result_digest=f"{number:064x}",
        stages=(),
    )
    return TrialResult(
        trial=trial,
        state=State.FINISHED,
        metrics=finals(number),
        curve=curve(number),
        duration_s=2.5,
        started_at=1_700_000_000.0 + number,
        ended_at=1_700_000_002.5 + number,
    )


def raw_client(uri: str) -> Side:
    """Return MlflowClient with the fewest calls."""
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment(f"raw-{time.time_ns()}")

    def write(num_trials: int) -> None:
        for number in itertools.islice(NUMBERS, num_trials):
            now_ms = round(time.time() * 1000)
            points = [
                Metric(name, value, now_ms, int(point["step"]))
                for point in curve(number)
                for name, value in point.items()
                if name != "step"
            ]
            last = {**finals(number), "duration_s": 2.5}
            points += [Metric(name, value, now_ms, NUM_STEPS) for name, value in last.items()]
            run = client.create_run(experiment, tags=TAGS, run_name=f"trial {number}")
            params = [Param(name, str(value)) for name, value in _params(number).items()]
            client.log_batch(run.info.run_id, metrics=points, params=params)
            client.set_terminated(run.info.run_id)

    return write


def fluent(uri: str) -> Side:
    """Return the calls that most training scripts have."""
    name = f"fluent-{time.time_ns()}"

    def write(num_trials: int) -> None:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(name)
        for number in itertools.islice(NUMBERS, num_trials):
            with mlflow.start_run(run_name=f"trial {number}"):
                mlflow.set_tags(TAGS)
                mlflow.log_params(_params(number))
                for point in curve(number):
                    metrics = {name: value for name, value in point.items() if name != "step"}
                    mlflow.log_metrics(metrics, step=int(point["step"]))
                mlflow.log_metrics({**finals(number), "duration_s": 2.5}, step=NUM_STEPS)

    return write


def _params(number: int) -> dict[str, object]:
    return {"model": "mini-lm", "task": "rotten-tomatoes", "seed": number, **PARAMS}


@contextlib.contextmanager
def opened(store: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """Yield the tracking URI of each side."""
    ours, theirs = (f"sqlite:///{folder}/{name}.db" for name in ("ours", "theirs"))
    if store == "sqlite":
        yield {"fanflare": ours, "raw": theirs, "raw, our database": ours, "fluent": theirs}
        return
    with contextlib.ExitStack() as stack:
        uri = ours if "sqlite" in store else stack.enter_context(postgres_server())
        if store.startswith("server"):
            uri = stack.enter_context(mlflow_server(uri, folder)).url
        yield dict.fromkeys(("fanflare", "raw", "fluent"), uri)


def rates(uris: Mapping[str, str], folder: Path, num_trials: int, num_blocks: int) -> None:
    """Measure all sides in turns and print their medians in trials a second."""
    ours = Fanflare(uris["fanflare"], folder)
    sides: dict[str, Side] = {
        name: ours if name == "fanflare" else (fluent if name == "fluent" else raw_client)(uri)
        for name, uri in uris.items()
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(max(1, num_trials // 10))  # connections and compiled statements
    for _ in range(num_blocks):
        for name, side in sides.items():
            began = time.perf_counter()
            side(num_trials)
            found[name].append(num_trials / (time.perf_counter() - began))
    ours.close()
    own = statistics.median(found["fanflare"])
    for name, per_s in found.items():
        median = statistics.median(per_s)
        spread = f"{min(per_s):.1f} to {max(per_s):.1f}"
        print(f"  {name:18} {median:7.1f}/s ({spread:16})  fanflare/it {own / median:5.2f}")


def main() -> None:
    """Measure and print."""
    stores = ["sqlite", "server on sqlite", "postgres", "server on postgres"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="trials a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks a side")
    parser.add_argument("--stores", nargs="*", choices=stores, default=stores)
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    for store in options.stores:
        if "postgres" in store and not has_postgres():
            print(f"{store}: PostgreSQL is not installed")
            continue
        print(f"{store}, {options.trials} trials a block, median of {options.blocks}", flush=True)
        with tempfile.TemporaryDirectory(prefix="tracking-") as name:
            folder = Path(name)
            with opened(store, folder) as uris:
                rates(uris, folder, options.trials, options.blocks)


if __name__ == "__main__":
    main()
