"""How much MLflow is given to hold, and what a store that is slow or hangs may cost a run."""

from __future__ import annotations

import gc
import io
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from cluster.job import State
from orchestrator import run
from orchestrator.running.progress import SilentObserver
from orchestrator.running.tracking import (
    MlflowTracker,
    Patience,
    SweepInfo,
    SweepSummary,
    default_tracking_uri,
)
from orchestrator.running.tracking.detail import MAX_RUNS, detail_of
from tests.mlflow_records import client_of, runs_of
from tests.orchestrator.test_tracking import result_of


@pytest.mark.parametrize(
    ("wanted", "num_trials", "num_configs", "expected"),
    [
        ("auto", MAX_RUNS, MAX_RUNS, "trial"),
        ("auto", MAX_RUNS + 1, MAX_RUNS, "config"),
        ("auto", 100_000, MAX_RUNS + 1, "sweep"),
        ("trial", 100_000, 50_000, "trial"),
        ("config", 1, 1, "config"),
        ("sweep", 1, 1, "sweep"),
    ],
)
def test_the_number_of_runs_is_bounded_unless_one_insists(
    wanted: Any, num_trials: int, num_configs: int, expected: str
) -> None:
    assert detail_of(wanted, num_trials, num_configs) == expected


def kinds(uri: str) -> Counter[str]:
    """Return how many runs of each kind there are."""
    return Counter(run.data.tags["fanflare.kind"] for run in runs_of(uri, "toy"))


def table_of(uri: str) -> list[dict[str, Any]]:
    """Return the rows of the table of all trials."""
    [parent] = runs_of(uri, "toy", "sweep")
    path = client_of(uri).download_artifacts(parent.info.run_id, "trials.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(Path(path).read_bytes())).to_pylist()
    return rows


def test_a_large_sweep_has_few_runs_and_a_table_of_its_trials(toy: Any, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    sweep = toy.sweep({"value": list(range(21))}, seeds=100, tracking={"uri": uri})
    made = run(sweep, backend="inline")
    assert made.counts == {"FINISHED": 2100}
    assert kinds(uri) == {"sweep": 1, "config": 21}
    [parent] = runs_of(uri, "toy", "sweep")
    assert parent.data.tags["fanflare.detail"] == "config"
    assert parent.data.metrics["num_trials"] == 2100
    rows = table_of(uri)
    assert len(rows) == 2100
    row = next(row for row in rows if (row["params.value"], row["seed"]) == (20, 99))
    assert (row["state"], row["validation/score"]) == ("FINISHED", 20.99)


def test_a_sweep_may_grow_beyond_what_has_runs(toy: Any, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    fails = {"fail": "raise", "fail_times": 1}

    def grown(num_values: int, detail: str) -> Counter[str]:
        tracking = {"uri": uri, "detail": detail}
        space = [{"value": list(range(num_values))}, {"value": 100, **fails}]
        run(toy.sweep(space, tracking=tracking), backend="inline")
        return kinds(uri)

    assert grown(2, "trial") == {"sweep": 1, "config": 3, "trial": 3}
    old = {run.info.run_id: run.info.status for run in runs_of(uri, "toy", "trial")}
    assert sorted(old.values()) == ["FAILED", "FINISHED", "FINISHED"]

    assert grown(4, "config") == {"sweep": 1, "config": 5, "trial": 3}
    kept = {run.info.run_id: run.info.status for run in runs_of(uri, "toy", "trial")}
    assert kept.keys() == old.keys(), "nothing is deleted"
    assert set(kept.values()) == {"FINISHED"}, "and what is shown is not out of date"
    assert len(table_of(uri)) == 5

    assert grown(6, "sweep") == {"sweep": 1, "config": 5, "trial": 3}
    assert len(table_of(uri)) == 7
    assert grown(6, "trial") == {"sweep": 1, "config": 7, "trial": 7}


# --- a store that hangs ---


@pytest.fixture
def hanging_server() -> Iterator[str]:
    """A server that is well when asked for its health, and answers nothing else."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                over.wait()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK")

        do_POST = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    over.set()
    server.shutdown()
    server.server_close()


ONE_REQUEST_S = 20
"""Less than the half minute for which a single request is waited for."""


class JobsEndedError(Exception):
    """Ends a run where it would begin to wait for its last writes."""


class UntilTheJobsEnded(SilentObserver):
    """Lets a run go as far as its last job."""

    def message(self, text: str) -> None:
        if text.startswith("writing the last results"):
            raise JobsEndedError


def test_a_store_that_hangs_delays_no_trial(toy: Any, hanging_server: str) -> None:
    sweep = toy.sweep({"value": list(range(60))}, tracking={"uri": hanging_server})
    began = time.monotonic()
    with pytest.raises(JobsEndedError):
        run(sweep, backend="inline", observer=UntilTheJobsEnded())
    took_s = time.monotonic() - began
    assert toy.num_executed() == 60
    assert took_s < ONE_REQUEST_S


def test_an_end_does_not_wait_long_for_a_store_that_hangs(
    hanging_server: str, tmp_path: Path
) -> None:
    tracker = MlflowTracker(hanging_server, tmp_path, Patience(outage_s=1.0))
    began = time.monotonic()
    tracker.start(SweepInfo(name="hangs", id="h"))
    for number in range(100):
        tracker.record(result_of(number))
    assert time.monotonic() - began < ONE_REQUEST_S, "the loop never waits"
    tracked = tracker.finish(State.FINISHED, SweepSummary())
    assert time.monotonic() - began < 25
    assert (tracked.num_written, tracked.num_unwritten, tracked.is_complete) == (0, 100, False)
    assert "took nothing" in tracked.faults[-1]


def test_closing_waits_for_nothing(hanging_server: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(hanging_server, tmp_path)
    began = time.monotonic()
    tracker.start(SweepInfo(name="closed", id="c"))
    tracker.record(result_of(1))
    tracker.close()
    assert time.monotonic() - began < ONE_REQUEST_S


# --- memory ---


def test_one_sweep_after_the_other_does_not_fill_the_memory(tmp_path: Path) -> None:
    def held_mib(name: str) -> float:
        tracker = MlflowTracker(default_tracking_uri(tmp_path / name), tmp_path)
        tracker.start(SweepInfo(name=name, id=name), [result_of(1)])
        assert tracker.finish(State.FINISHED, SweepSummary()).is_complete
        del tracker
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 2**20

    held_mib("first")  # what MLflow loads once
    tracemalloc.start()
    try:
        before = held_mib("second")
        assert held_mib("third") - before < 2
    finally:
        tracemalloc.stop()
