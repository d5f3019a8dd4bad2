"""Sweeps from start to end on real backends: what is computed, what fails, what is told."""

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest

from cluster.job import Cause, State
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
from orchestrator.running.journal import read_journal
from orchestrator.running.loop import MAX_RETRIES
from orchestrator.running.workspace import open_sweep
from tests.toy import Toy

REPOSITORY = Path(__file__).parents[2]


def states(made):
    return dict(made.counts)


def scores(made):
    """Return `(value, seed) -> score` of the trials that finished."""
    return {
        (result.trial.params["value"], result.trial.seed): result.metrics["test/score"]
        for result in made.results
        if result.state is State.FINISHED
    }


def expected(values, seeds, group=0):
    return {(v, s): pytest.approx(group + v + s / 100 + 1) for v in values for s in seeds}


def failures(made):
    return {
        (result.trial.params["value"], result.trial.seed): result.failure
        for result in made.results
        if result.failure
    }


def kinds(toy, name="toy"):
    return Counter(event.kind for event in read_journal(Store(str(toy.store)), name))


class Watcher:
    """An observer that remembers."""

    def __init__(self):
        self.progress = None
        self.messages = []

    def changed(self, progress):
        self.progress = progress

    def message(self, text):
        self.messages.append(text)


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


# Failure


CAUSES = {
    "raise": Cause.BUG,
    "diverge": Cause.DIVERGED,
    "input": Cause.INPUT,
    "memory": Cause.OUT_OF_MEMORY,
    "full": Cause.STORE,
    "exit": Cause.BUG,
}


def test_trials_that_fail_stop_no_other_and_say_why(toy, backend):
    faults = [{"value": 10 + n, "fail": fault} for n, fault in enumerate(CAUSES)]
    space = [{"value": [1, 2]}, *faults]
    made = run(toy.sweep(space, seeds=2), backend=backend)
    assert made.state is State.FAILED
    assert made.exit_code == 1
    assert scores(made) == expected([1, 2], range(2))
    assert {key: failure.cause for key, failure in failures(made).items()} == {
        (10 + n, seed): cause for n, cause in enumerate(CAUSES.values()) for seed in range(2)
    }
    times = Counter(float(line.split()[0]) for line in toy.executed())
    assert times == {1: 2, 2: 2} | {
        10 + n: 2 * (1 + MAX_RETRIES.get(cause, 0)) for n, cause in enumerate(CAUSES.values())
    }
    told = [row["cause"] for row in made.to_json()["trials"]]
    assert told == [None] * 4 + [str(cause) for cause in CAUSES.values() for _ in range(2)]
    assert states(report(toy.sweep(space, seeds=2))) == {"FINISHED": 4, "FAILED": 12}


def test_a_worker_that_dies_is_tried_again_and_given_up(toy, ray_backend):
    space = [{"value": [1, 2, 3]}, {"value": 4, "fail": "kill"}, {"value": 5, "fail": "crash"}]
    made = run(toy.sweep(space), backend=ray_backend)
    assert scores(made) == expected([1, 2, 3], [0])
    assert {f.cause for f in failures(made).values()} == {Cause.WORKER_DIED}
    assert set(failures(made)) == {(4, 0), (5, 0)}
    times = Counter(line.split()[0] for line in toy.executed())
    assert times["4.0"] == times["5.0"] == 3


def test_trials_that_fail_now_and_then_succeed(toy, ray_backend):
    times = {"memory": 1, "full": 1, "kill": 1, "crash": 2}
    faults = [
        {"value": 10 + n, "fail": fault, "fail_times": num_times}
        for n, (fault, num_times) in enumerate(times.items())
    ]
    watcher = Watcher()
    made = run(toy.sweep([{"value": 1}, *faults]), backend=ray_backend, observer=watcher)
    assert made.exit_code == 0
    assert scores(made) == expected([1, 10, 11, 12, 13], [0])
    events = list(read_journal(Store(str(toy.store)), "toy"))
    assert max(event.attempt for event in events) == 3
    assert [event for event in events if event.kind == "stage_failed"] == []
    assert watcher.progress.stages_done == watcher.progress.stage_totals


def test_a_stage_that_kills_a_packed_job_takes_no_other_with_it(toy, ray_backend):
    space = [{"value": list(range(60))}, {"value": 99, "fail": "kill"}]
    planned = plan(toy.sweep(space))
    of_culprit = planned.trials[-1].stages
    packed = next(job for job in planned.jobs if set(job.stages) & set(of_culprit[1:]))
    assert len(packed.stages) > 4, "nothing was packed: this test would show nothing"
    made = run(toy.sweep(space), backend=ray_backend)
    assert scores(made) == expected(range(60), [0])
    assert set(failures(made)) == {(99, 0)}
    times = Counter(line.split()[0] for line in toy.executed())
    assert times.pop("99.0") == 3
    assert set(times.values()) <= {1, 2}


def test_what_needs_a_failed_stage_is_told_its_root(toy, backend):
    space = [
        {"value": [1, 2], "group": 1, "fail": "raise", "fail_in": "prepare"},
        {"value": [3, 4], "group": 2},
    ]
    watcher = Watcher()
    made = run(toy.sweep(space, seeds=2), backend=backend, observer=watcher)
    assert scores(made) == expected([3, 4], range(2), group=2)
    assert set(failures(made)) == {(v, s) for v in (1, 2) for s in (0, 1)}
    for failure in failures(made).values():
        assert failure.cause is Cause.BUG
        assert "the toy broke" in failure.message
    assert toy.num_executed("prepare") == 2
    assert toy.num_executed("work") == 4
    assert kinds(toy)["stage_failed"] == 1
    totals = watcher.progress.stages_done + watcher.progress.stages_failed
    assert totals == watcher.progress.stage_totals
    late = {r.trial.params["value"]: r.failure for r in report(toy.sweep(space, seeds=2)).results}
    assert "the toy broke" in late[1.0].message
    assert late[3.0] is None


def test_a_shared_stage_that_dies_with_its_worker_is_tried_again(toy, ray_backend):
    space = {"value": [1, 2, 3], "fail": "kill", "fail_in": "prepare", "fail_times": 1}
    made = run(toy.sweep(space, seeds=2), backend=ray_backend)
    assert scores(made) == expected([1, 2, 3], range(2))
    assert toy.num_executed("prepare") == 2


def test_a_failing_checked_stage_is_a_fault_of_the_file(toy, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f'name: toy\npipeline: "tests.toy:CHECKED"\ntracking: off\nstore: store\n'
        f"space:\n  tag: '{toy.tag}'\n  fail: input\n  fail_in: prepare\n"
    )
    with pytest.raises(InvalidSweepError, match="the data has no label") as caught:
        run(path, backend="inline")
    (fault,) = caught.value.faults
    assert (fault.line, fault.nearest) == (5, "label")
    assert toy.num_executed("work") == 0
    assert states(report(path)) == {"SCHEDULED": 1}


# Reuse


def test_running_again_computes_nothing(toy, backend):
    sweep = toy.sweep({"value": [1, 2]}, seeds=2)
    first = run(sweep, backend=backend)
    begun = time.monotonic()
    again = run(sweep, backend=backend)
    assert time.monotonic() - begun < 2, "no backend is needed"
    assert again.num_reused == 4
    assert again.exit_code == 0
    assert scores(again) == scores(first)
    assert toy.num_executed() == 4
    assert plan(sweep).jobs == ()


def test_more_seeds_and_values_run_the_new_trials_only(toy):
    run(toy.sweep({"value": [1, 2]}, seeds=5), backend="inline")
    made = run(toy.sweep({"value": [1, 2, 3]}, seeds=8), backend="inline")
    assert made.num_reused == 10
    assert scores(made) == expected([1, 2, 3], range(8))
    assert toy.num_executed() == 24
    assert len({tuple(line.split()[:2]) for line in toy.executed()}) == 24
    assert toy.num_executed("prepare") == 1


def test_fewer_trials_run_nothing_and_show_only_theirs(toy):
    run(toy.sweep({"value": [1, 2]}, seeds=3), backend="inline")
    made = run(toy.sweep({"value": 2}, seeds=2), backend="inline")
    assert scores(made) == expected([2], range(2))
    assert toy.num_executed() == 6


def test_another_sweep_finds_the_same_trial(toy):
    run(toy.sweep({"value": [1, 2]}, name="first"), backend="inline")
    made = run(toy.sweep({"value": [2, 3]}, name="second"), backend="inline")
    assert made.num_reused == 1
    assert toy.num_executed() == 3


def test_only_what_failed_is_tried_again(toy):
    sweep = toy.sweep([{"value": 1}, {"value": 2, "fail": "raise", "fail_times": 1}], seeds=2)
    first = run(sweep, backend="inline")
    assert states(first) == {"FINISHED": 2, "FAILED": 2}
    second = run(sweep, backend="inline")
    assert second.exit_code == 0
    assert scores(second) == expected([1, 2], range(2))
    assert toy.num_executed() == 6


def test_what_failed_is_left_alone_on_request(toy):
    space = [{"value": 1}, {"value": 2, "fail": "raise"}]
    run(toy.sweep(space), backend="inline")
    watcher = Watcher()
    made = run(toy.sweep(space, seeds=2), backend="inline", retry_failed=False, observer=watcher)
    assert toy.num_executed() == 4, "two at first, then the new seed of each"
    assert states(made) == {"FINISHED": 2, "FAILED": 2}
    assert {failure.message for failure in failures(made).values()} == {"ValueError: the toy broke"}
    assert watcher.progress.num_ended == 4
    assert made.exit_code == 1


def test_what_another_sweep_has_repaired_is_not_skipped(toy):
    space = {"value": 2, "fail": "raise", "fail_times": 1}
    assert run(toy.sweep(space), backend="inline").exit_code == 1
    assert run(toy.sweep(space, name="repair"), backend="inline").exit_code == 0
    assert run(toy.sweep(space), backend="inline", retry_failed=False).exit_code == 0


def test_fresh_computes_everything_anew_and_once(toy, backend):
    sweep = toy.sweep({"value": [1, 2]}, seeds=2)
    run(sweep, backend=backend)
    made = run(sweep, backend=backend, fresh=True)
    assert scores(made) == expected([1, 2], range(2))
    assert made.num_reused == 0
    assert toy.num_executed() == 8
    assert toy.num_executed("prepare") == 2


def test_fresh_computes_a_checked_stage_anew_and_once(toy, backend):
    sweep = {**toy.sweep({"value": [1, 2]}), "pipeline": "tests.toy:CHECKED"}
    run(sweep, backend=backend, fresh=True)
    assert toy.num_executed("prepare") == 1
    assert run(sweep, backend=backend, fresh=True).exit_code == 0
    assert toy.num_executed("prepare") == 2


def test_a_lost_artifact_behind_a_result_is_not_missed(toy):
    sweep = toy.sweep({"value": [1, 2]})
    run(sweep, backend="inline")
    store = Path(toy.store)
    for trial in plan(sweep).trials:
        prepared, _, evaluated = trial.stages
        for digest in (prepared, evaluated):
            (store / f"artifacts/{digest[:2]}/{digest}.json").unlink(missing_ok=True)
    made = run(sweep, backend="inline")
    assert scores(made) == expected([1, 2], [0])
    assert toy.num_executed("work") == 2
    assert toy.num_executed("evaluate") == 4


def test_a_damaged_input_fails_its_users_only_and_says_so(toy, backend):
    run(toy.sweep({"value": 1, "group": [1, 2]}), backend=backend)
    first, second = plan(toy.sweep({"value": 1, "group": [1, 2]})).trials
    damaged = first.stages[0]
    (Path(toy.store) / f"artifacts/{damaged[:2]}/{damaged}.json").write_text("{")
    made = run(toy.sweep({"value": 7, "group": [1, 2]}), backend=backend)
    assert states(made) == {"FAILED": 1, "FINISHED": 1}
    (failure,) = failures(made).values()
    assert failure.cause is Cause.STORE
    assert damaged[:12] in failure.message
    assert second.stages[0] != damaged


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
    run(toy.sweep({"value": 1, "sleep_s": 0.2}), backend="inline")
    planned = plan(toy.sweep({"value": 1, "sleep_s": 0.2}, seeds=[1, 2]))
    assert planned.estimate.compute_s == pytest.approx(0.4, abs=0.1)


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
