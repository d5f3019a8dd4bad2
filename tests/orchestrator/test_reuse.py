"""What the store has is not computed again: the same command, more seeds, repaired trials."""

from pathlib import Path

from cluster.job import Cause
from orchestrator import (
    plan,
    run,
)
from tests.orchestrator.runs import Watcher, expected, failures, scores, states


def test_running_again_computes_nothing(toy, backend):
    sweep = toy.sweep({"value": [1, 2]}, seeds=2)
    first = run(sweep, backend=backend)
    again = run(sweep, backend=backend)
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


def test_an_input_that_lost_its_files_is_made_again_where_it_is_needed(toy, backend):
    """`pull` leaves files where they are, and people make room."""

    def sweep(**space):
        return {**toy.sweep(space), "pipeline": "tests.toy_files:PIPELINE"}

    run(sweep(value=[1, 2]), backend=backend)
    (arrays,) = Path(toy.store).rglob("*.safetensors")
    arrays.unlink()
    assert run(sweep(value=[1, 2]), backend=backend).num_reused == 2, "nobody needs it"
    made = run(sweep(value=[1, 2, 3]), backend=backend)
    assert scores(made) == expected([1, 2, 3], [0])
    assert (toy.num_executed("prepare"), toy.num_executed("work")) == (2, 3)


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
