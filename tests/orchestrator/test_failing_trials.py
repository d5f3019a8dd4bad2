"""Trials that fail, workers that die: what is tried again, what is told, what goes on."""

from collections import Counter

import pytest

from cluster.job import Cause, State
from cluster.store import Store
from orchestrator import (
    InvalidSweepError,
    plan,
    report,
    run,
)
from orchestrator.running.journal import read_journal
from orchestrator.running.loop import MAX_RETRIES
from tests.orchestrator.runs import Watcher, expected, failures, kinds, scores, states

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
