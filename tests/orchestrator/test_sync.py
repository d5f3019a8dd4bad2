"""`fanflare sync`: a sweep's records in MLflow, rebuilt from its store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cluster.job import State
from orchestrator import run
from orchestrator.errors import SweepBusyError
from orchestrator.running.syncing import sync
from orchestrator.running.tracking import default_tracking_uri
from orchestrator.running.workspace import open_sweep
from tests.cli import fanflare
from tests.mlflow_records import client_of, models_of, records_of, runs_of
from tests.tracking_places import Place, die_within, run_until_killed

__all__ = ["fanflare"]  # the fixture

SPACE = [
    {"value": [1, 2, 3], "anything": [{"a": 1}]},
    {"value": 4, "fail": "raise"},
    {"value": 5, "fail": "raise", "fail_in": "prepare", "group": 7},
]
NUM_TRIALS, NUM_CONFIGS = 10, 5


def toy_sweep(toy: Any, **changes: Any) -> dict[str, Any]:
    """Return a sweep of ten trials, four of which fail, that is tracked where it lies."""
    sweep: dict[str, Any] = toy.sweep(SPACE, seeds=2, **{"tracking": {}, **changes})
    return sweep


def check_same(found: dict[Any, dict[str, Any]], expected: dict[Any, dict[str, Any]]) -> None:
    """Compare two stores run by run and part by part, so that a difference is told by its place."""
    assert found.keys() == expected.keys()
    for key, record in expected.items():
        for part, value in record.items():
            assert found[key][part] == value, (key, part)


def test_a_store_without_the_sweep_gets_all_that_the_run_wrote(toy: Any, place: Place) -> None:
    sweep = toy_sweep(toy, name="synced")
    run(sweep, backend="inline")
    original = default_tracking_uri(open_sweep(sweep).folder)
    assert runs_of(place.uri, "synced") == []

    synced = sync(sweep, tracking_uri=place.uri)

    assert (synced.exit_code, synced.tracked.faults) == (0, ())
    assert (synced.num_trials, synced.tracked.num_written) == (NUM_TRIALS, NUM_TRIALS)
    expected, found = records_of(original, "synced"), records_of(place.uri, "synced")
    assert len(found) == 1 + NUM_CONFIGS + NUM_TRIALS
    check_same(found, expected)
    assert models_of(place.uri, "synced") == models_of(original, "synced")

    before = {run.info.run_id for run in runs_of(place.uri, "synced")}
    assert sync(sweep, tracking_uri=place.uri).exit_code == 0
    assert {run.info.run_id for run in runs_of(place.uri, "synced")} == before
    check_same(records_of(place.uri, "synced"), found)


def test_what_a_run_with_no_tracking_gave_can_be_shown_later(toy: Any, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    run(toy_sweep(toy, tracking="off"), backend="inline")
    synced = sync(toy_sweep(toy, tracking={"uri": uri}))
    assert (synced.exit_code, synced.detail) == (0, "trial")
    states = [run.info.status for run in runs_of(uri, "toy", "trial")]
    assert (states.count("FINISHED"), states.count("FAILED")) == (6, 4)
    [parent] = runs_of(uri, "toy", "sweep")
    assert parent.info.status == "FAILED"
    assert "leaderboard.csv" in {f.path for f in client_of(uri).list_artifacts(parent.info.run_id)}


def test_what_left_the_sweep_is_told_from_what_is_in_it(toy: Any, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    narrow = [{"value": [1, 2], "anything": [{"a": 1}]}]

    def shown() -> Counter[str]:
        return Counter(run.data.tags["fanflare.kind"] for run in runs_of(uri, "toy"))

    all_of_it = {"sweep": 1, "config": NUM_CONFIGS, "trial": NUM_TRIALS}
    run(toy_sweep(toy, tracking={"uri": uri}), backend="inline")
    assert shown() == all_of_it

    run(toy.sweep(narrow, seeds=2, tracking="off"), backend="inline")
    assert shown() == all_of_it
    assert sync(toy.sweep(narrow, seeds=2, tracking={"uri": uri})).exit_code == 0
    former = {"former config": NUM_CONFIGS - 2, "former trial": NUM_TRIALS - 4}
    assert shown() == {"sweep": 1, "config": 2, "trial": 4, **former}
    [parent] = runs_of(uri, "toy", "sweep")
    assert (parent.data.metrics["num_trials"], parent.data.metrics["num_finished"]) == (4, 4)
    assert {run.data.metrics["rank"] for run in runs_of(uri, "toy", "config")} == {1, 2}

    run(toy_sweep(toy, tracking={"uri": uri}), backend="inline")
    assert shown() == all_of_it


def test_a_sync_that_was_killed_is_ended_by_the_next(toy: Any, tmp_path: Path) -> None:
    sweep, uri = toy_sweep(toy, tracking="off"), default_tracking_uri(tmp_path)
    run(sweep, backend="inline")
    for count in (3, 6, 5):
        run_until_killed(sync_and_die, sweep, uri, count)
    assert runs_of(uri, "toy", "sweep")[0].info.status == "RUNNING"

    assert sync(sweep, tracking_uri=uri).exit_code == 0

    other = default_tracking_uri(tmp_path / "other")
    sync(sweep, tracking_uri=other)
    check_same(records_of(uri, "toy"), records_of(other, "toy"))
    assert "RUNNING" not in {run.info.status for run in runs_of(uri, "toy")}


def sync_and_die(sweep: dict[str, Any], uri: str, count: int) -> None:
    """Sync in a process that kills itself while it writes the n-th run."""
    die_within("insert", count)
    sync(sweep, tracking_uri=uri)


def test_a_sweep_that_is_running_writes_by_itself(toy: Any) -> None:
    sweep = toy_sweep(toy, tracking="off")
    run(sweep, backend="inline")
    with open_sweep(sweep).lock(), pytest.raises(SweepBusyError):
        sync({**sweep, "tracking": {}})


# --- the command ---


def test_the_command_says_what_it_wrote(toy: Any, fanflare: Any, tmp_path: Path) -> None:
    run(toy_sweep(toy, tracking="off"), backend="inline")
    uri = default_tracking_uri(tmp_path)
    ended = fanflare("sync", "toy", "--store", toy.store, "--tracking-uri", uri, "--json")
    assert ended.code == 0
    assert ended.json | {"experiment_id": ""} == {
        "sweep": "toy",
        "tracking_uri": uri,
        "experiment_id": "",
        "detail": "trial",
        "num_trials": NUM_TRIALS,
        "num_written": NUM_TRIALS,
        "num_unwritten": 0,
        "is_complete": True,
        "faults": [],
    }
    again = fanflare("sync", "toy", "--store", toy.store, "--tracking-uri", uri)
    assert again.code == 0
    assert "10 of 10 trials" in again.out


@pytest.mark.parametrize(
    ("keys", "options", "expected"),
    [
        ({"tracking": "off"}, (), "--tracking-uri"),
        ({"tracking": {}}, ("--tracking-uri", "sqlit:///x.db"), "did you mean 'sqlite'"),
        ({"tracking": {}}, (), "never run"),
    ],
)
def test_what_cannot_be_synced_is_bad_input(
    keys: dict[str, Any], options: tuple[str, ...], expected: str, toy: Any, fanflare: Any
) -> None:
    path = Path(toy.store).parent / "toy.json"
    path.write_text(json.dumps(toy_sweep(toy, **keys)))
    ended = fanflare("sync", path, *options)
    assert ended.code == 2
    assert expected in ended.err
    assert not open_sweep(path).store.present(["0" * 64])


def test_the_state_is_that_of_the_last_run(toy: Any, tmp_path: Path) -> None:
    sweep, uri = toy_sweep(toy, tracking="off"), default_tracking_uri(tmp_path)
    made = run(sweep, backend="inline")
    assert made.state is State.FAILED
    sync(sweep, tracking_uri=uri)
    [parent] = runs_of(uri, "toy", "sweep")
    assert parent.info.status == "FAILED"
    assert parent.info.start_time < parent.info.end_time
