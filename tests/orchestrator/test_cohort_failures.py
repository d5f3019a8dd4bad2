"""Bad luck in a cohort: it costs the one that has it, and is remembered where that helps."""

import pytest

from cluster.inline import InlineBackend
from cluster.job import Cause, Failure, JobEnded, Resources, State, WorkerSpec
from cluster.store import Store
from orchestrator import plan, run
from orchestrator.running.journal import Journal
from orchestrator.running.loop import Driver
from orchestrator.running.progress import SilentObserver
from orchestrator.running.tracking import NullTracker
from orchestrator.running.work import Worker
from orchestrator.running.workspace import open_sweep
from tests.orchestrator.test_cohorts import calls
from tests.toy_cohorts import sweep_of


def states(made):
    """Return how each trial ended, by its value."""
    return {r.trial.params["value"]: str(r.state) for r in made.results}


def logs(toy, made, value):
    """Return all that the stages of a trial have said, by its value."""
    (trial,) = [r.trial for r in made.results if r.trial.params["value"] == value]
    store = Store(str(toy.store))
    return [text for digest in trial.stages for text in store.read_logs(digest)]


def values(toy):
    """Return the values that were worked on, oldest first, each time one was begun."""
    return [float(line.split()[0]) for line in toy.executed("work")]


def with_bad(*good, value, **fault):
    """Return a space of good values and one that fails."""
    return [{"value": list(good)}, {"value": value, **fault}]


def test_a_member_that_diverges_fails_alone_and_says_why(toy, backend):
    made = run(sweep_of(toy, with_bad(1, 2, 3, value=9, fail="diverge"), seeds=1), backend=backend)
    assert states(made) == {1: "FINISHED", 2: "FINISHED", 3: "FINISHED", 9: "FAILED"}
    assert calls(toy) == [4]
    assert sorted(values(toy)) == [1, 2, 3, 9], "a diverged one would only diverge again"
    (bad,) = [r for r in made.results if r.state is State.FAILED]
    assert bad.failure.cause is Cause.DIVERGED
    assert any("the loss is nan" in text for text in logs(toy, made, 9))
    assert not any("nan" in text for text in logs(toy, made, 1))


def test_a_call_that_breaks_keeps_what_it_gave_and_the_rest_is_computed_alone(toy, backend):
    space = [{"value": [1, 2]}, {"value": 5, "fail": "raise"}, {"value": [7, 8]}]
    made = run(sweep_of(toy, space, seeds=1), backend=backend)
    assert states(made) == {1: "FINISHED", 2: "FINISHED", 5: "FAILED", 7: "FINISHED", 8: "FINISHED"}
    assert calls(toy) == [5]
    assert values(toy) == [1, 2, 5, 5, 7, 8], "those that were given are not computed again"
    labels = {r.trial.params["value"]: str(r.fidelity) for r in made.results if r.metrics}
    assert labels == {1: "equal", 2: "equal", 7: "exact", 8: "exact"}
    assert any("the toy broke" in text for text in logs(toy, made, 5))
    assert not any("the toy broke" in text for text in logs(toy, made, 1))


def test_a_member_that_breaks_the_call_once_succeeds_alone(toy):
    space = with_bad(1, 2, value=5, fail="raise", fail_times=1)
    made = run(sweep_of(toy, space, seeds=1), backend="inline")
    assert made.counts == {"FINISHED": 3}
    assert values(toy) == [1, 2, 5, 5]


def test_a_cohort_that_does_not_fit_is_halved_and_the_limit_is_remembered(toy, backend):
    space = {"value": [1, 2, 3, 4, 5, 6, 7, 8], "anything": 3}
    made = run(sweep_of(toy, space, seeds=1), backend=backend)
    assert made.counts == {"FINISHED": 8}
    assert calls(toy) == [8, 4, 2, 2, 2, 2]
    assert toy.num_executed("work") == 8
    more = plan(sweep_of(toy, space, seeds=2))
    (cohort,) = more.cohorts
    assert cohort.limit == 2
    assert max(sum(bool(more.stages[d].cohort) for d in job.stages) for job in more.jobs) == 2
    assert run(sweep_of(toy, space, seeds=2), backend=backend).counts == {"FINISHED": 16}
    assert calls(toy)[6:] == [2, 2, 2, 2]


def test_members_of_which_not_even_two_fit_are_computed_alone_from_then_on(toy):
    space = {"value": [1, 2, 3], "anything": 1}
    assert run(sweep_of(toy, space, seeds=1), backend="inline").counts == {"FINISHED": 3}
    assert calls(toy) == [3]
    assert {str(r.fidelity) for r in run(sweep_of(toy, space, seeds=1)).results} == {"exact"}
    assert plan(sweep_of(toy, space, seeds=2)).cohorts == ()


@pytest.mark.parametrize("fault", ["crash", "kill"])
def test_a_worker_that_dies_in_a_cohort_loses_no_finished_member(toy, ray_backend, fault):
    space = [{"value": [1, 2]}, {"value": 5, "fail": fault, "fail_times": 1}, {"value": [7, 8]}]
    made = run(sweep_of(toy, space, seeds=1), backend=ray_backend)
    assert made.counts == {"FINISHED": 5}
    assert sorted(values(toy)) == [1, 2, 5, 5, 7, 8]
    assert calls(toy) == [5, 3], "the death may have had nothing to do with them"


def test_where_workers_die_again_in_a_cohort_its_members_go_on_alone(toy, ray_backend):
    space = [{"value": 1}, {"value": 5, "fail": "kill", "fail_times": 2}, {"value": [7, 8]}]
    made = run(sweep_of(toy, space, seeds=1), backend=ray_backend)
    assert made.counts == {"FINISHED": 4}
    assert calls(toy) == [4, 3]
    labels = {r.trial.params["value"]: str(r.fidelity) for r in made.results}
    assert labels == {1: "equal", 5: "exact", 7: "exact", 8: "exact"}


def test_a_member_that_always_kills_its_worker_fails_and_no_other_does(toy, ray_backend):
    made = run(sweep_of(toy, with_bad(1, 2, value=5, fail="kill"), seeds=1), backend=ray_backend)
    assert states(made) == {1: "FINISHED", 2: "FINISHED", 5: "FAILED"}
    (bad,) = [r for r in made.results if r.state is State.FAILED]
    assert bad.failure.cause is Cause.WORKER_DIED


def test_an_input_of_one_member_that_fails_does_not_take_the_others_with_it(toy, backend):
    fault = {"group": 3, "fail": "input", "fail_in": "prepare"}
    space = [{"value": [1, 2], "group": [0, 10]}, {"value": [8, 9], **fault}]
    made = run(sweep_of(toy, space, "FUSING", seeds=1), backend=backend)
    ended = {(r.trial.params["group"], r.trial.params["value"]): str(r.state) for r in made.results}
    assert ended == {(g, v): "FINISHED" for g in (0, 10) for v in (1, 2)} | {
        (3, 8): "FAILED",
        (3, 9): "FAILED",
    }
    assert calls(toy) == [4]
    assert {r.failure.cause for r in made.results if r.failure} == {Cause.INPUT}


def test_what_failed_in_a_cohort_alone_is_tried_again_by_the_next_run(toy):
    space = with_bad(1, 2, value=9, fail="diverge", fail_times=1)
    assert run(sweep_of(toy, space, seeds=1), backend="inline").counts == {
        "FINISHED": 2,
        "FAILED": 1,
    }
    again = run(sweep_of(toy, space, seeds=1), backend="inline")
    assert (again.counts, again.num_reused) == ({"FINISHED": 3}, 2)
    assert values(toy) == [1, 2, 9, 9]


def test_members_whose_inputs_are_computed_in_the_same_job_are_computed_together_after_them(toy):
    sweep = sweep_of(toy, {"value": [1, 2, 3]}, seeds=1)
    made = plan(sweep)
    store = open_sweep(sweep).store
    worker = Worker(resources=Resources(num_cpus=1), store=str(toy.store))
    outcomes = worker.run(list(made.stages.values()))
    assert [outcome.failure for outcome in outcomes] == [None] * len(made.stages)
    assert calls(toy) == [3]
    assert store.find(made.stages).keys() == made.stages.keys()
    assert {o.cohort_size for o in outcomes if made.stages[o.digest].cohort} == {3}


class SmallHost(InlineBackend):
    """A host that ends the worker of every job with more than two members, as Ray does."""

    def wait(self, timeout_s):
        job = self._queue[0]
        if sum(bool(stage.cohort) for stage in job.payload) <= 2:
            return super().wait(timeout_s)
        self._queue.popleft()
        return [JobEnded(job_id=job.id, failure=Failure(Cause.OUT_OF_MEMORY, "no memory is left"))]


def test_a_cohort_for_which_the_host_has_no_memory_runs_alone_and_is_remembered(toy):
    workspace = open_sweep(sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=1))
    made = workspace.plan()
    driver = Driver(
        made,
        store=workspace.store,
        journal=Journal(workspace.store, "toy", 1.0),
        tracker=NullTracker(),
        observer=SilentObserver(),
    )
    spec = WorkerSpec(
        factory="orchestrator.running.work:Worker", settings={"store": str(toy.store)}
    )
    driver.execute(made.jobs, SmallHost(spec))
    assert {r.state for r in driver.all_results()} == {State.FINISHED}
    workspace.save_timings(driver.observed)
    (cohort,) = plan(sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=3)).cohorts
    assert cohort.limit == 2


def test_a_limit_of_memory_is_remembered_where_all_members_fail_alone_too(toy):
    space = {"value": [1, 2, 3, 4], "anything": 2, "fail": "raise"}
    made = run(sweep_of(toy, space, seeds=1), backend="inline")
    assert made.counts == {"FAILED": 4}
    (cohort,) = plan(sweep_of(toy, space, seeds=3)).cohorts
    assert cohort.limit == 2


def test_members_that_their_cohort_leaves_alone_are_not_planned_together_again(toy, monkeypatch):
    """As where a model cannot be shared, or what would be shared does not fit into memory."""
    monkeypatch.setattr("tests.toy_cohorts.work_together", lambda context, members: iter(()))
    made = run(sweep_of(toy, {"value": [1, 2, 3]}, seeds=1), backend="inline")
    assert {str(r.fidelity) for r in made.results} == {"exact"}
    assert plan(sweep_of(toy, {"value": [1, 2, 3]}, seeds=3)).cohorts == ()
    (others,) = plan(sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=3)).cohorts
    assert len(others.stages) == 3


def test_members_whose_cohort_broke_are_planned_together_again(toy):
    run(sweep_of(toy, with_bad(1, 2, value=0, fail="raise"), seeds=1), backend="inline")
    (cohort,) = plan(sweep_of(toy, {"value": [1, 2]}, seeds=3)).cohorts
    assert len(cohort.stages) == 4
