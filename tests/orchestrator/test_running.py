"""Sweeps from start to end on real backends: what is computed, what fails, what is told."""

import io
import json
import logging
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from cluster.job import Resources, State
from cluster.store import Store
from orchestrator import (
    InvalidSweepError,
    RunOptions,
    SweepBusyError,
    UnknownNameError,
    plan,
    report,
    run,
)
from orchestrator.planning.trial import TrialUsage
from orchestrator.running.options import RayCluster
from orchestrator.running.status import sweep_status
from orchestrator.running.worker_context import WorkerContext
from orchestrator.running.workspace import open_sweep
from tests.orchestrator.runs import Watcher, expected, scores, states
from tests.toy import Toy

REPOSITORY = Path(__file__).parents[2]


# What a sweep gives


def test_every_trial_gives_its_result_and_every_shared_stage_runs_once(toy, backend):
    made = run(toy.sweep({"value": [1, 2, 3], "group": [10, 20]}, seeds=2), backend=backend)
    assert made.state is State.FINISHED
    assert made.exit_code == 0
    assert states(made) == {"FINISHED": 12}
    assert {
        (r.trial.params["group"], r.trial.params["value"], r.trial.seed): r.metrics["test/score"]
        for r in made.results
    } == {
        (g, v, s): pytest.approx(g + v + s / 100 + 1)
        for g in (10, 20) for v in (1, 2, 3) for s in (0, 1)
    }  # fmt: skip
    assert toy.num_executed("prepare") == 2
    assert toy.num_executed("work") == toy.num_executed("evaluate") == 12


def test_idle_workers_load_what_they_need_while_the_first_stage_runs(toy, ray_backend):
    sweep = {**toy.sweep({"value": [1, 2]}), "pipeline": "tests.toy_late:PIPELINE"}
    assert states(run(sweep, backend="ray")) == {"FINISHED": 2}


def test_a_logger_made_in_one_stage_prints_into_the_log_of_each():
    context, logger = WorkerContext(Resources()), logging.Logger("a library's")
    logs = [io.StringIO(), io.StringIO()]
    for number, log in enumerate(logs):
        with context.call(log):
            if not logger.handlers:
                logger.addHandler(logging.StreamHandler())
            logger.warning("said by stage %d", number)
    logger.warning("said by none")
    assert [log.getvalue() for log in logs] == ["said by stage 0\n", "said by stage 1\n"]


def test_results_carry_what_people_ask_for(toy, backend):
    watcher = Watcher()
    made = run(toy.sweep({"value": [1, 2]}, seeds=3), backend=backend, observer=watcher)
    for result in made.results:
        assert result.duration_s > 0
        assert 0 < result.started_at <= result.ended_at <= time.time()
    frame = made.to_pandas()
    assert len(frame) == 6
    assert set(frame["params.value"]) == {1.0, 2.0}
    (best, *_) = made.leaderboard.tasks[""]
    assert best.params == {"value": 2.0}
    assert best.scores["validation"].n == 3
    assert best.scores["validation"].mean == pytest.approx(2.01)
    assert best.scores["validation"].std == pytest.approx(0.01)
    json.dumps(made.to_json())
    assert made.to_csv().count("\n") == 3
    progress = watcher.progress
    assert progress.num_ended == progress.num_trials == 6
    assert progress.stages_done == progress.stage_totals
    assert not +progress.stages_running
    assert not progress.stages_failed
    assert progress.best[""].trial.params["value"] == 2.0


def test_both_backends_give_the_same(toy, ray_session, tmp_path):
    tables = []
    for name in ("inline", "ray"):
        store = replace(toy, store=tmp_path / name)
        made = run(store.sweep({"value": [0.1, 0.2, 0.3]}, seeds=3), backend=name)
        measured = ["duration_s", *(field.name for field in fields(TrialUsage))]
        tables.append(made.to_pandas().drop(columns=measured))
    assert tables[0].equals(tables[1])


def test_what_a_stage_prints_and_why_it_failed_is_kept(toy):
    made = run(toy.sweep({"value": 5, "fail": "raise"}), backend="inline")
    store = Store(str(toy.store))
    (log,) = [text for d in made.results[0].trial.stages for text in store.read_logs(d)]
    assert "working on 5, seed 0" in log
    assert "ValueError: the toy broke" in log
    assert "in work" in log


def test_a_sweep_on_s3_runs_and_resumes(toy, backend, s3_location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its lock lies under the current folder
    on_s3 = Toy(store=s3_location, tag=toy.tag)
    made = run(on_s3.sweep({"value": [1, 2]}, seeds=2), backend=backend)
    assert scores(made) == expected([1, 2], range(2))
    again = run(on_s3.sweep({"value": [1, 2]}, seeds=2), backend=backend)
    assert again.num_reused == 4
    assert on_s3.num_executed() == 4
    assert states(report(on_s3.sweep({"value": [1, 2]}, seeds=2))) == {"FINISHED": 4}


# What is asked for wrongly, and places


def test_an_unknown_backend_is_told_before_anything_runs(toy):
    with pytest.raises(UnknownNameError, match="inline, ray"):
        run(toy.sweep(), backend="slurm")
    assert not Path(toy.store).exists()


def test_options_and_changes_go_together(toy):
    options = RunOptions(backend="slurm")
    assert run(toy.sweep(), options, backend="inline").exit_code == 0


def test_a_store_that_cannot_be_written_is_a_fault(toy, tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(InvalidSweepError, match="not writable") as caught:
        run(toy.sweep(), backend="inline")
    assert caught.value.faults[0].key == "store"


def test_a_sweep_is_reported_by_name_and_by_file(toy, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f'name: mine\npipeline: "tests.toy:TOY"\ntracking: off\nstore: store\n'
        f"space: {{tag: '{toy.tag}', value: [1, 2]}}\n"
    )
    assert states(report(path)) == {"SCHEDULED": 2}
    assert open_sweep(path).state() is State.SCHEDULED
    made = run(path, backend="inline")
    for given in (path, "mine"):
        again = report(given, store=str(tmp_path / "store"))
        assert again.state is State.FINISHED
        assert scores(again) == scores(made)
        assert again.num_reused == 2


def test_the_state_of_a_sweep_is_that_of_its_last_run(toy):
    space = {"value": 1, "fail": "raise", "fail_times": 1}
    workspace = open_sweep(toy.sweep(space))
    assert workspace.state() is State.SCHEDULED
    run(toy.sweep(space), backend="inline")
    assert workspace.state() is State.FAILED
    run(toy.sweep(space), backend="inline")
    assert workspace.state() is State.FINISHED
    with workspace.lock():
        assert workspace.state() is State.RUNNING


def test_a_relative_store_works_on_workers_too(toy, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = run({**toy.sweep({"value": 1}), "store": "here"}, backend=backend)
    assert made.exit_code == 0
    assert len(list((tmp_path / "here" / "artifacts").rglob("*.json"))) == 3


def test_timings_are_learnt_and_estimates_follow(toy):
    sweep = toy.sweep({"value": 1, "sleep_s": 0.2})
    (known,) = run(sweep, backend="inline").results
    records = open_sweep(sweep).store.find(known.trial.stages).values()
    took_s = sum(r.duration_s for r in records if r.stage != "toy/prepare")
    planned = plan(toy.sweep({"value": 1, "sleep_s": 0.2}, seeds=[1, 2]))
    assert took_s >= 0.2
    assert planned.estimate.compute_s == pytest.approx(2 * took_s, abs=1e-4)


@pytest.mark.parametrize("content", ["{", "[]", '{"toy/work@1": 3}'])
def test_timings_that_cannot_be_read_are_none(toy, content):
    Path(toy.store).mkdir()
    (Path(toy.store) / "timings.json").write_text(content)
    assert plan(toy.sweep({"value": 1})).estimate is None


def test_max_concurrent_is_kept(toy, ray_backend):
    sweep = toy.sweep({"value": [1, 2, 3, 4], "sleep_s": 0.2}, max_concurrent=1)
    run(sweep, backend=ray_backend)
    assert len({line.split()[2] for line in toy.executed()}) == 1


# Several drivers


def start_driver(sweep, **options):
    code = (
        "import json, sys\n"
        "from orchestrator import run\n"
        "made = run(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))\n"
        "print(json.dumps(dict(made.counts)))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(sweep), json.dumps(options)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_drivers_on_one_store_at_once_are_both_right(toy):
    space = {"value": list(range(8)), "sleep_s": 0.05}
    drivers = [
        start_driver(toy.sweep(space, name="first", seeds=2), backend="inline"),
        start_driver(toy.sweep({**space, "value": list(range(3, 11))}, name="second", seeds=2),
                     backend="inline"),
    ]  # fmt: skip
    try:
        for driver in drivers:
            output, errors = driver.communicate(timeout=60)
            assert json.loads(output) == {"FINISHED": 16}, errors
    finally:
        for driver in drivers:
            driver.kill()
    whole = report(toy.sweep({**space, "value": list(range(11))}, name="whole", seeds=2))
    assert scores(whole) == expected(range(11), range(2))
    assert toy.num_executed() <= 32


def test_what_waits_for_a_worker_is_not_called_running(toy, ray_session):
    """On a cluster that may grow to six cores and has two."""
    sweep = toy.sweep({"value": list(range(12)), "sleep_s": 0.2})
    num_running = []

    class Asking(Watcher):
        def changed(self, progress):
            num_running.append(len(sweep_status(open_sweep(sweep)).running))

    cluster = RayCluster(capacity=Resources(num_cpus=6))
    made = run(sweep, RunOptions(cluster=cluster, observer=Asking()))
    assert states(made) == {"FINISHED": 12}
    assert max(num_running) == 2


def test_the_same_sweep_twice_at_once_is_refused(toy):
    sweep = toy.sweep({"value": 1, "sleep_s": 20})
    driver = start_driver(sweep, backend="inline")
    try:
        deadline = time.monotonic() + 30
        while not toy.executed() and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(SweepBusyError, match=f"process {driver.pid}"):
            run(sweep, backend="inline")
        assert report(sweep).state is State.RUNNING
        assert run(toy.sweep({"value": 2}, name="other"), backend="inline").exit_code == 0
    finally:
        driver.kill()
        driver.wait(20)
    assert report(sweep).state is State.KILLED
