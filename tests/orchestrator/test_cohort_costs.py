"""What cohorts cost: who is charged, what is recorded, and what the next plan makes of it."""

import time
from dataclasses import replace

import pytest

from cluster.machine import local_resources
from orchestrator import plan, run
from orchestrator.planning.cost import Observation, cohort_keys
from orchestrator.planning.sharing import shared_groups
from orchestrator.running.workspace import open_sweep
from tests import toy_cohorts
from tests.toy_cohorts import sweep_of


def test_durations_in_a_cohort_are_recorded_as_such_and_used_in_the_next_plan(toy):
    sweep = sweep_of(toy, {"value": [1, 2, 3, 4], "sleep_s": 0.02}, seeds=1)
    assert plan(sweep).estimate is None
    run(sweep, backend="inline")
    more = plan(sweep_of(toy, {"value": [1, 2, 3, 4], "sleep_s": 0.02}, seeds=3))
    timings = open_sweep(sweep).timings()
    stage = next(s for s in more.stages.values() if s.stage.name == "toy/work")
    assert timings.estimate_s(stage.cost_keys) is None, "no lone one was ever timed"
    assert timings.estimate_s(cohort_keys(stage.cost_keys, 4)) >= 0.02
    (cohort,) = more.cohorts
    assert cohort.is_recorded
    assert len(cohort.stages) == 8
    assert more.estimate.share_recorded == pytest.approx(1)
    assert more.estimate.compute_s == pytest.approx(sum(job.cost_s for job in more.jobs))
    assert 8 * 0.01 < cohort.together_s < cohort.alone_s


@pytest.mark.parametrize("scales", [True, False])
def test_a_cohort_that_scales_has_the_cores_that_no_job_waits_for(toy, monkeypatch, scales):
    seen = []

    def counting(context, members):
        seen.append(context.num_cpus)
        yield from toy_cohorts.work_together(context, members)

    monkeypatch.setattr("tests.toy_cohorts.counting", counting, raising=False)
    cohort = replace(toy_cohorts.COHORT, function="tests.toy_cohorts:counting", scales=scales)
    monkeypatch.setattr(toy_cohorts, "COHORT", cohort)
    run(sweep_of(toy, {"value": [1, 2, 3]}, seeds=1), backend="inline")
    assert seen == [int(local_resources().num_cpus) if scales else 1]


def test_what_is_done_for_all_members_is_charged_to_each_of_them(toy, monkeypatch):
    taken = []

    def pass_first(context, members):
        began = time.monotonic()
        time.sleep(0.3)
        yield {}
        yield from toy_cohorts.work_together(context, members)
        taken.append(time.monotonic() - began)

    monkeypatch.setattr("tests.toy_cohorts.pass_first", pass_first, raising=False)
    cohort = replace(toy_cohorts.COHORT, function="tests.toy_cohorts:pass_first")
    monkeypatch.setattr(toy_cohorts, "COHORT", cohort)
    made = run(sweep_of(toy, {"value": [1, 2, 3]}, seeds=1), backend="inline")
    records = open_sweep(sweep_of(toy, {"value": [1, 2, 3]}, seeds=1)).store.find(
        digest for result in made.results for digest in result.trial.stages
    )
    worked = [r.duration_s for r in records.values() if r.stage == "toy/work"]
    assert len(worked) == 3
    assert all(seconds >= 0.1 for seconds in worked)
    assert sum(worked) == pytest.approx(taken[0], rel=0.1)


def test_a_cohort_that_proved_slower_than_lone_stages_is_not_planned_again(toy):
    fast, slow = {"value": [1, 2]}, {"value": [1, 2], "sleep_s": 0.0}
    run(sweep_of(toy, fast, seeds=1, sharing="off"), backend="inline")
    workspace = open_sweep(sweep_of(toy, slow, seeds=3))
    (cohort,) = workspace.plan().cohorts
    stages = [workspace.plan().stages[d] for d in cohort.stages]
    workspace.save_timings(
        [Observation(cost_keys=s.cost_keys, num_together=4, duration_s=100.0) for s in stages]
    )
    after = open_sweep(sweep_of(toy, slow, seeds=3)).plan()
    assert after.cohorts == ()
    assert not any(stage.cohort for stage in after.stages.values())


def test_a_plan_tells_who_shares_what_and_how_many_runs_that_saves(toy):
    made = plan(sweep_of(toy, {"value": [1, 2, 3], "group": [0, 1]}, seeds=2))
    groups = shared_groups(made)
    assert [(g.stage, g.num_trials, len(g.jobs), g.num_saved) for g in groups] == [
        ("toy/work", 6, 1, 5),
        ("toy/work", 6, 1, 5),
    ]
    assert all(group.saved_s > 0 for group in groups)
    assert shared_groups(plan(sweep_of(toy, {"value": [1, 2]}, seeds=2, sharing="off"))) == []
