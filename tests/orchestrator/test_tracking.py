"""One contract over every kind of tracking store; what becomes of results that reach none."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.job import State
from orchestrator.running.tracking import (
    ConfigSummary,
    MlflowTracker,
    NullTracker,
    Patience,
    SweepInfo,
    SweepSummary,
    Tracked,
    check_tracking_uri,
    open_tracker,
)
from tests.servers import free_port
from tests.tracking_places import Place, die_within, failed, result_of, run_until_killed

REPOSITORY = Path(__file__).parents[2]
QUICK = Patience(outage_s=0.5, pause_s=0.05, max_pause_s=0.2)


# --- the contract over all stores ---


def test_a_trial_reads_as_a_child_of_its_sweep(place: Place) -> None:
    datasets = [
        {
            "name": "rt",
            "digest": "f" * 64,
            "split": s,
            "num_rows": 10,
            "source": "hf://datasets/rt@v1",
        }
        for s in ("train", "test")
    ]
    place.write("layout", [result_of(3, datasets=datasets), failed(4)])

    [parent] = place.runs("layout", "sweep")
    by_seed = {run.data.params["seed"]: run for run in place.runs("layout", "trial")}
    run, broken = by_seed["3"], by_seed["4"]
    assert parent.info.run_name == "layout"
    assert parent.info.status == "FINISHED"
    assert run.info.run_name == "probe · rotten-tomatoes · seed 3"
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (1_700_000_030_000, 1_700_000_035_250)
    tags = {k: v for k, v in run.data.tags.items() if k.startswith("fanflare.")}
    assert tags == {
        "fanflare.kind": "trial",
        "fanflare.trial_id": "0000000000000003",
        "fanflare.config_id": result_of(3).trial.config_id,
        "fanflare.model": "mini-lm",
        "fanflare.task": "rotten-tomatoes",
        "fanflare.method": "probe",
        "fanflare.seed": "3",
        "fanflare.fidelity": "exact",
    }
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params == {
        "model": "mini-lm",
        "task": "rotten-tomatoes",
        "seed": "3",
        "method": "probe",
        "learning_rate": "0.001",
        "layers": "[1, 2]",
    }
    assert run.data.metrics == {
        "test/accuracy": 0.53,
        "validation/loss": 0.25,
        "train/loss": 0.2,
        "duration_s": 2.5,
    }
    assert place.history(run, "train/loss") == [(step, 1 / step) for step in range(1, 6)]
    inputs = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "test"}
    assert inputs["train"].name == "rt"
    assert json.loads(inputs["train"].profile) == {"num_rows": 10}
    assert json.loads(inputs["train"].source) == {"uri": "hf://datasets/rt@v1"}

    assert broken.info.status == "FAILED"
    assert broken.data.tags["fanflare.failure_cause"] == "out of memory"
    assert broken.data.tags["fanflare.failure_message"] == "CUDA out of memory"


def test_the_sweep_carries_its_files_and_its_summary(place: Place) -> None:
    for num_trials in (1, 2):
        tracker = place.tracker()
        info = SweepInfo(
            name="summary",
            id="a",
            tags={"fanflare.store": "s3://key:pass/word@host/bucket"},
            params={"metric": "accuracy", "num_trials": num_trials},
            files={"sweep.yaml": "name: summary\n", "plan.json": "{}"},
        )
        tracker.start(info)
        config = ConfigSummary(
            config_id="c1",
            name="probe · lr 0.1",
            params={"lr": 0.1},
            metrics={"test/accuracy/mean": 0.5 + num_trials, "n": num_trials},
            ended_at=1_700_000_000 + num_trials,
        )
        rows = [{"config": "c1", "mean": 0.5, "n": num_trials}, {"config": "c2", "mean": None}]
        summary = SweepSummary(
            note="# Größte Übersicht",
            metrics={"num_trials": num_trials},
            files={"leaderboard.csv": "config,mean\n"},
            leaderboard=rows,
            configs=[config],
        )
        assert tracker.finish(State.KILLED, summary).faults == ()

    [parent] = place.runs("summary", "sweep")
    [config_run] = place.runs("summary", "config")
    assert parent.info.status == "KILLED"
    assert parent.data.tags["mlflow.note.content"] == "# Größte Übersicht"
    assert "pass/word" not in parent.data.tags["fanflare.store"]
    assert parent.data.params == {"metric": "accuracy", "num_trials": "1"}, "params never change"
    assert parent.data.metrics["num_trials"] == 2
    assert config_run.data.metrics == {"test/accuracy/mean": 2.5, "n": 2.0}
    assert config_run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    client = place.client()
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert names == {"sweep.yaml", "plan.json", "leaderboard.csv", "leaderboard.json"}
    # Not with load_table: it asks the global tracking URI.
    table = Path(client.download_artifacts(parent.info.run_id, "leaderboard.json"))
    assert json.loads(table.read_text()) == {
        "columns": ["config", "mean", "n"],
        "data": [["c1", 0.5, 2], ["c2", None, None]],
    }, "a second summary replaces the first"
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "leaderboard.json", "type": "table"}
    ]


def test_nothing_is_written_twice_after_a_writer_was_killed(place: Place) -> None:
    # The last two die among the configs, whose runs come after the trials'.
    deaths = [("create_run", 4), ("log_batch", 12), ("set_terminated", 6)]
    deaths += [("create_run", 18), ("set_terminated", 3)]
    if place.server is None:
        deaths = [("insert", 4), ("insert", 12), ("insert", 18), ("insert", 3)]
    for method, count in deaths:
        run_until_killed(write_and_die, place.uri, place.folder, method, count)
    assert place.runs("killed", "sweep")[0].info.status == "RUNNING"

    place.write("killed", [result_of(number) for number in range(30)], configs=CONFIGS)

    configs = place.runs("killed", "config")
    assert {run.data.tags["fanflare.config_id"] for run in configs} == {f"c{n}" for n in range(9)}
    assert len(configs) == 9
    assert {run.info.status for run in configs} == {"FINISHED"}
    assert {run.data.metrics["n"] for run in configs} == {3}
    assert len(place.runs("killed", "sweep")) == 1
    runs = place.runs("killed", "trial")
    assert {run.data.tags["fanflare.seed"] for run in runs} == {str(n) for n in range(30)}
    assert len(runs) == 30
    for run in runs:
        assert run.info.status == "FINISHED"
        assert place.history(run, "train/loss") == [(step, 1 / step) for step in range(1, 6)]
        assert place.history(run, "test/accuracy") == [(5, run.data.metrics["test/accuracy"])]


CONFIGS = [
    ConfigSummary(config_id=f"c{n}", name=f"c{n}", metrics={"n": 3}, ended_at=1_700_000_000 + n)
    for n in range(9)
]


def write_and_die(uri: str, folder: Path, method: str, count: int) -> None:
    """Write 30 trials in a process that kills itself on the way."""
    die_within(method, count)
    tracker = MlflowTracker(uri, folder)
    tracker.start(SweepInfo(name="killed", id="killed"))
    for number in range(30):
        tracker.record(result_of(number))
    tracker.finish(State.FINISHED, SweepSummary(configs=CONFIGS))


def test_a_failed_trial_that_is_run_again_ends_as_one_finished_run(place: Place) -> None:
    place.write("again", [failed(1), result_of(2)])
    before = {run.info.run_id for run in place.runs("again", "trial")}
    again = replace(result_of(1), ended_at=1_700_000_900)

    place.write("again", [again, result_of(2)])

    runs = place.runs("again", "trial")
    assert {run.info.run_id for run in runs} == before
    [run] = [run for run in runs if run.data.params["seed"] == "1"]
    assert run.info.status == "FINISHED"
    assert run.info.end_time == 1_700_000_900_000
    assert run.data.metrics["test/accuracy"] == 0.51
    assert not [tag for tag in run.data.tags if tag.startswith("fanflare.failure")]


def test_new_trials_join_a_finished_sweep(place: Place) -> None:
    place.write("grown", [result_of(number) for number in range(3)])
    old = {run.info.run_id: run.info.end_time for run in place.runs("grown", "trial")}

    place.write("grown", [result_of(number) for number in range(5)])

    new = {run.info.run_id: run.info.end_time for run in place.runs("grown", "trial")}
    assert len(new) == 5
    assert old.items() <= new.items()
    assert len(place.runs("grown", "sweep")) == 1


def test_two_sweeps_of_one_name_share_an_experiment_but_no_runs(place: Place) -> None:
    for sweep_id in ("hers", "his"):
        tracker = place.tracker()
        tracker.start(SweepInfo(name="shared", id=sweep_id), [result_of(1)])
        tracker.finish(State.FINISHED, SweepSummary())
    assert len(place.runs("shared", "sweep")) == 2
    assert len(place.runs("shared", "trial")) == 2


def test_no_run_is_left_behind_and_none_twice(place: Place) -> None:
    place.write("settled", [result_of(1)])
    client = place.client()
    [parent] = place.runs("settled", "sweep")
    [kept] = place.runs("settled", "trial")
    family = {"mlflow.parentRunId": parent.info.run_id, "fanflare.kind": "trial"}
    # What a lost answer and a trial that is no longer in the sweep leave behind.
    for trial_id in (result_of(1).trial.id, "dropped"):
        tags = {**family, "fanflare.trial_id": trial_id}
        client.create_run(parent.info.experiment_id, tags=tags, start_time=1_800_000_000_000)
    own = {"mlflow.parentRunId": parent.info.run_id}
    foreign = client.create_run(parent.info.experiment_id, tags=own)

    place.write("settled", [result_of(1)])

    runs = {run.data.tags["fanflare.trial_id"]: run for run in place.runs("settled", "trial")}
    assert len(place.runs("settled", "trial")) == 2
    assert runs[result_of(1).trial.id].info.run_id == kept.info.run_id
    assert runs["dropped"].info.status == "KILLED"
    assert client.get_run(foreign.info.run_id).info.status == "RUNNING", "a user's own run"


def test_odd_values_are_kept_or_named(place: Place) -> None:
    odd = replace(
        result_of(1),
        metrics={"test/f1@macro": 0.5, "test/nan": math.nan, "test/größe": 1, "/a//b": 2},
        curve=[{"step": 1, "loss": math.inf, "note": "text"}, {"step": 2, "loss": 0.5}],
    )
    trial = replace(odd.trial, params={"prompt": "Übung \x00 \ud800 🍅" + "x" * 9000, "none": None})
    place.write("odd", [replace(odd, trial=trial)])

    [run] = place.runs("odd", "trial")
    assert run.data.metrics == {
        "test/f1_macro": 0.5, "test/größe": 1, "a/b": 2, "loss": 0.5, "duration_s": 2.5
    }  # fmt: skip
    assert run.data.tags["fanflare.not_finite"] == "loss, test/nan"
    assert run.data.params["prompt"].startswith("Übung  ? 🍅xxx")
    assert run.data.params["none"] == "null"


def test_a_long_curve_is_written_whole_and_once(place: Place) -> None:
    curve = [{"step": s, "loss": 1 / (s + 1)} for s in range(3000)]
    long = result_of(1, curve=curve)
    place.write("long", [replace(long, state=State.KILLED)])
    place.write("long", [long])
    [run] = place.runs("long", "trial")
    assert place.history(run, "loss") == [(s, 1 / (s + 1)) for s in range(3000)]
    assert run.info.status == "FINISHED"


def test_one_refused_result_does_not_stop_the_others(place: Place) -> None:
    impossible = result_of(1, curve=[{"step": 2**70, "loss": 1.0}])
    tracker = place.tracker()
    tracker.start(SweepInfo(name="refused", id="r"))
    for result in (impossible, result_of(2), result_of(3)):
        tracker.record(result)
    tracked = tracker.finish(State.FINISHED, SweepSummary())
    assert (tracked.num_written, tracked.num_unwritten) == (2, 1)
    assert impossible.trial.id in tracked.faults[0]
    states = Counter(run.info.status for run in place.runs("refused", "trial"))
    # Where a run is rows of a database at hand, it is there whole or not at all.
    begun = {} if place.server is None else {"KILLED": 1}
    assert states == {"FINISHED": 2, **begun}


@pytest.mark.parametrize("place", ["server on postgres"], indirect=True)
def test_a_server_may_go_away_and_come_back(place: Place) -> None:
    assert place.server is not None
    tracker = place.tracker(Patience(max_pause_s=0.5))
    tracker.start(SweepInfo(name="outage", id="o"))
    for number in range(40):
        tracker.record(result_of(number))
    while len(tracker._done) < 2:  # the sweep itself, and a trial
        time.sleep(0.01)
    place.server.stop()
    for number in range(40, 60):
        tracker.record(result_of(number))
    place.server.start()  # which takes seconds, in which writers try again

    tracked = tracker.finish(State.FINISHED, SweepSummary())

    assert (tracked.num_written, tracked.num_unwritten, tracked.faults) == (60, 0, ())
    runs = place.runs("outage", "trial")
    assert len(runs) == 60
    assert len({run.data.tags["fanflare.trial_id"] for run in runs}) == 60
    assert {run.info.status for run in runs} == {"FINISHED"}


# --- without a store ---


def test_a_store_that_stays_away_costs_neither_the_sweep_nor_much_time(tmp_path: Path) -> None:
    uri = f"http://user:geheim@127.0.0.1:{free_port()}"
    tracker = MlflowTracker(uri, tmp_path, QUICK)
    begun = time.monotonic()
    tracker.start(SweepInfo(name="away", id="a"))
    for number in range(200):
        tracker.record(result_of(number))
    tracked = tracker.finish(State.FINISHED, SweepSummary())
    assert (tracked.num_written, tracked.num_unwritten) == (0, 200)
    assert tracked.faults
    assert "geheim" not in "".join(tracked.faults)
    assert time.monotonic() - begun < 30


def test_a_direct_postgres_uri_works_with_whichever_driver_is_there(
    postgres_uri: str, tmp_path: Path
) -> None:
    uri = postgres_uri.replace("+psycopg2", "")
    assert check_tracking_uri(uri) is None
    wrong = check_tracking_uri(uri.replace("postgres@", "postgres:geheim@") + "_missing")
    assert wrong is not None
    assert "does not exist" in wrong
    assert "geheim" not in wrong
    tracker = MlflowTracker(uri, tmp_path / "artifacts")
    tracker.start(SweepInfo(name="direct", id="d", files={"sweep.yaml": "x"}), [result_of(1)])
    assert tracker.finish(State.FINISHED, SweepSummary()).num_written == 1
    assert list((tmp_path / "artifacts").rglob("sweep.yaml"))


def test_tracking_may_be_off(tmp_path: Path) -> None:
    tracker = open_tracker(None, tmp_path)
    assert isinstance(tracker, NullTracker)
    tracker.start(SweepInfo(name="off", id="o"))
    tracker.record(result_of(1))
    assert tracker.finish(State.FINISHED, SweepSummary()) == Tracked()
    tracker.close()


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    code = "import sys, orchestrator.running.tracking; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
