"""Stages packed into jobs, and what they cost: every stage once, inputs first, slots filled."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.job import Resources
from orchestrator.planning.cost import Timings, cost_keys, kinds_of, makespan_s
from orchestrator.planning.packing import TARGET_JOB_S, pack, split
from orchestrator.planning.plan import PlannedStage, Setting
from pipelines.contract import Node, Stage
from tests.orchestrator.toy_plans import planned
from tests.toy import EVALUATE, WORK

quick = settings(max_examples=40, deadline=None)
ONE = Resources()


def random_stages(shape, costs, gpu, checks):
    """Return a random graph of planned stages: `shape[i]` are the inputs of stage i."""
    stages = []
    for index, inputs in enumerate(shape):
        stage = Stage(
            name=f"s{index % 3}",
            version=1,
            function="m:f",
            typical_s=1,
            needs_accelerator=gpu[index],
            checks_input=checks[index] and not inputs,
        )
        stages.append(
            PlannedStage(
                digest=f"d{index}",
                stage=stage,
                params={},
                sources={},
                inputs={f"i{n}": f"d{earlier}" for n, earlier in enumerate(sorted(inputs))},
                num_trials=1,
                cost_keys=(),
                cost_s=costs[index],
            )
        )
    return stages


@st.composite
def graphs(draw, max_size=18):
    size = draw(st.integers(1, max_size))
    shape = [
        draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        for index in range(size)
    ]
    lists = {"min_size": size, "max_size": size}
    costs = draw(st.lists(st.sampled_from([0.0, 0.01, 0.3, 2.0]), **lists))
    booleans = st.lists(st.booleans(), **lists)
    return random_stages(shape, costs, draw(booleans), draw(booleans))


@quick
@given(stages=graphs(), num_slots=st.integers(1, 8))
def test_packing_keeps_every_stage_once_and_inputs_first(stages, num_slots):
    resources = Resources(num_cpus=1, num_gpus=1)
    jobs = pack(stages, resources=resources, num_slots=num_slots)
    by_digest = {stage.digest: stage for stage in stages}
    in_jobs = [digest for job in jobs for digest in job.stages]
    assert sorted(in_jobs) == sorted(by_digest)
    assert len({job.id for job in jobs}) == len(jobs)
    for job in jobs:
        done = set(job.needs)
        for digest in job.stages:
            assert set(by_digest[digest].inputs.values()) <= done, "an input comes too late"
            done.add(digest)
        wanted = {d for digest in job.stages for d in by_digest[digest].inputs.values()}
        assert job.needs == wanted - set(job.stages)
        assert job.cost_s == pytest.approx(sum(by_digest[d].cost_s for d in job.stages))
        uses_gpu = any(by_digest[d].stage.needs_accelerator for d in job.stages)
        assert job.resources.num_gpus == uses_gpu


@quick
@given(stages=graphs(), num_slots=st.integers(1, 8))
def test_packed_jobs_can_be_run_in_some_order(stages, num_slots):
    waiting = list(pack(stages, resources=ONE, num_slots=num_slots))
    finished = set()
    while waiting:
        ready = [job for job in waiting if job.needs <= finished]
        assert ready, "the jobs wait for each other"
        for job in ready:
            finished.update(job.stages)
            waiting.remove(job)


@quick
@given(stages=graphs())
def test_a_stage_that_checks_input_has_a_job_of_its_own(stages):
    for job in pack(stages, resources=ONE, num_slots=2):
        if job.checks_input:
            assert len(job.stages) == 1


@quick
@given(costs=st.lists(st.floats(0.001, 3), min_size=1, max_size=60), num_slots=st.integers(1, 4))
def test_cheap_stages_share_jobs_and_leave_enough_for_every_slot(costs, num_slots):
    stages = random_stages([set() for _ in costs], costs, [True] * len(costs), [False] * len(costs))
    jobs = pack(stages, resources=ONE, num_slots=num_slots)
    target_s = min(TARGET_JOB_S, sum(costs) / (4 * num_slots))  # a quarter of what a slot has to do
    for job in jobs:
        assert len(job.stages) == 1 or job.cost_s <= target_s + 1e-6
    # No two neighbours could have been one job: so there are few.
    for one, other in itertools.pairwise(jobs):
        assert one.cost_s + other.cost_s > target_s - 1e-6


@quick
@given(stages=graphs(), keep=st.randoms(use_true_random=False))
def test_splitting_a_broken_job_keeps_each_unfinished_stage_once(stages, keep):
    for job in pack(stages, resources=ONE, num_slots=1):
        by_digest = {stage.digest: stage for stage in stages}
        unfinished = {d: by_digest[d] for d in job.stages if keep.random() < 0.7}
        parts = split(job, unfinished)
        assert sorted(d for part in parts for d in part.stages) == sorted(unfinished)
        for part in parts:
            wanted = {d for digest in part.stages for d in by_digest[digest].inputs.values()}
            assert part.needs == wanted - set(part.stages)
            assert part.resources == job.resources


# Costs


@quick
@given(durations=st.lists(st.floats(0, 1000), max_size=40), num_slots=st.integers(1, 8))
def test_the_makespan_lies_between_its_bounds(durations, num_slots):
    wall_s = makespan_s(durations, num_slots)
    lower = max(sum(durations) / num_slots, max(durations, default=0.0))
    assert lower <= wall_s * (1 + 1e-9) + 1e-9
    assert wall_s <= sum(durations) / num_slots + max(durations, default=0.0) + 1e-6
    assert wall_s <= 4 / 3 * sum(durations) + 1e-6
    assert makespan_s(durations, 1) == pytest.approx(sum(durations))
    assert makespan_s(random.Random(1).sample(durations, len(durations)), num_slots) == wall_s


def keys_of(node):
    return cost_keys(node, kinds_of({node.digest: node})[node.digest])


def test_an_estimate_needs_a_recorded_timing():
    assert planned({"value": [1, 2]}).estimate is None
    timings = Timings()
    node = Node(stage=WORK, params={"tag": "", "value": 1.0}, inputs={})
    timings.observe(keys_of(node), 3.0)
    plan = planned({"value": [1, 2]}, Setting(timings=timings, capacity=Resources(num_cpus=2)))
    assert plan.estimate.compute_s == pytest.approx(6.0 + 3 * 0.01)
    assert plan.estimate.wall_s == pytest.approx(3.02, abs=0.05)
    assert 0.9 < plan.estimate.share_recorded < 1


def test_seeds_are_expected_to_cost_the_same_and_other_params_are_not():
    nodes = [Node(stage=WORK, params={"value": v, "seed": s}) for v, s in [(1, 0), (1, 1), (2, 0)]]
    assert keys_of(nodes[0]) == keys_of(nodes[1]) != keys_of(nodes[2])
    timings = Timings()
    timings.observe(keys_of(nodes[0]), 5.0)
    assert timings.estimate_s(keys_of(nodes[2])) == 5.0, "the stage's mean is better than nothing"
    assert timings.estimate_s(keys_of(Node(stage=EVALUATE))) is None


@quick
@given(durations=st.lists(st.floats(0.001, 100), min_size=1, max_size=200))
def test_timings_survive_their_file_and_stay_in_range(durations):
    timings = Timings()
    for duration_s in durations:
        timings.observe(["stage"], duration_s)
    read = Timings.from_json(timings.to_json())
    assert read.estimate_s(["unknown", "stage"]) == pytest.approx(
        timings.estimate_s(["stage"]), abs=1e-5
    )
    assert min(durations) - 1e-5 <= read.estimate_s(["stage"]) <= max(durations) + 1e-5
