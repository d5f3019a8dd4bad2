"""The schedule under a virtual clock: wrong estimates, mishaps, two kinds of worker."""

import tracemalloc

import pytest

from benchmarks.simulation import Fleet, Trouble, simulate
from benchmarks.workload import CPU, Workload, sweep_like
from cluster.job import Resources
from orchestrator.planning.packing import PlannedJob
from orchestrator.running import schedule

NUM_JOBS = 10_000
ALIKE = Fleet(num_cpu=100)
MIXED = Fleet(num_cpu=80, num_gpu=20)
TROUBLE = Trouble(failures=0.01, mean_present_s=1800.0, mean_away_s=120.0)


def job(name, cost_s, needs=(), resources=CPU):
    return PlannedJob(
        id=name, stages=(name,), needs=frozenset(needs), resources=resources, cost_s=cost_s
    )


def as_estimated(jobs):
    duration_s = {one.id: one.cost_s for one in jobs}
    return Workload(jobs=tuple(jobs), duration_s=duration_s, trials=frozenset(duration_s))


def half_done(workload, outcome):
    ended_s = sorted(outcome.ended_s[trial] for trial in workload.trials & outcome.ended_s.keys())
    return ended_s[len(ended_s) // 2] / outcome.makespan_s


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trouble", [None, TROUBLE], ids=["calm", "trouble"])
@pytest.mark.parametrize("fleet", [ALIKE, MIXED], ids=["alike", "mixed"])
def test_a_sweep_ends_within_5_percent_of_the_bound_and_its_results_come_early(
    seed, trouble, fleet
):
    workload = sweep_like(NUM_JOBS, seed=seed, gpu_share=0.2 if fleet.num_gpu else 0.0)
    outcome = simulate(workload, fleet, trouble, seed=seed)
    assert len(outcome.ended_s) + outcome.num_given_up == len(workload.jobs)
    assert (outcome.num_preemptions > 10) == (trouble is not None)
    assert outcome.excess < 0.05
    assert half_done(workload, outcome) < 0.5


def test_a_sweep_with_more_workers_than_work_is_as_long_as_its_longest_chain():
    workload = sweep_like(NUM_JOBS, seed=0)
    outcome = simulate(workload, Fleet(num_cpu=400))
    assert outcome.chain_bound_s > outcome.work_bound_s
    assert outcome.excess < 0.05


def test_no_order_beats_the_bound():
    for seed in range(20):
        outcome = simulate(sweep_like(300, seed=seed), Fleet(num_cpu=7), TROUBLE, seed=seed)
        assert outcome.excess > -1e-9


def test_accelerators_are_busy_while_jobs_need_them():
    on_gpu = Resources(num_cpus=1, num_gpus=1)
    jobs = [job(f"gpu-{n}", 2.0, resources=on_gpu) for n in range(110)]
    jobs += [job(f"cpu-{n}", 1.0) for n in range(880)]  # nearer to their end, and could take all
    outcome = simulate(as_estimated(jobs), Fleet(num_cpu=8, num_gpu=2))
    assert outcome.work_bound_s == pytest.approx(110.0)
    assert outcome.makespan_s <= 113


def test_what_is_kept_back_delays_no_one_who_waits():
    shared = [job(f"shared-{n}", 5.0) for n in range(8)]
    heads = [job(f"head-{n}", 1.0, [f"shared-{n % 8}"]) for n in range(800)]
    outcome = simulate(as_estimated([*shared, *heads]), Fleet(num_cpu=2))
    first = min(at for name, at in outcome.ended_s.items() if name.startswith("head"))
    assert first == 6.0
    assert outcome.makespan_s <= 421


def test_a_failing_job_is_tried_again_but_not_for_ever():
    jobs = [job("root", 10.0), job("leaf", 1.0, ["root"]), job("other", 1.0)]
    outcome = simulate(as_estimated(jobs), Fleet(num_cpu=2), Trouble(failures=1.0))
    assert outcome.num_attempts == 6  # the root and the other, three times each
    assert outcome.num_given_up == 3
    assert not outcome.ended_s


def held_at_the_end(num_jobs):
    """Return the bytes that the schedule's own lines hold when all jobs have ended."""
    workload = sweep_like(num_jobs, seed=0)
    own = tracemalloc.Filter(inclusive=True, filename_pattern=schedule.__file__)
    held = []

    def watch(_schedule, num_ended):
        if num_ended == len(workload.jobs) and not held:
            traces = tracemalloc.take_snapshot().filter_traces([own]).statistics("filename")
            held.append(sum(trace.size for trace in traces))

    tracemalloc.start()
    simulate(workload, Fleet(num_cpu=100), watch=watch)
    tracemalloc.stop()
    return held[0]


def test_a_job_that_has_ended_leaves_little_more_than_the_digests_of_its_stages():
    small, large = held_at_the_end(1_000), held_at_the_end(5_000)
    assert (large - small) / 4_000 < 250  # hash tables; the digests themselves are the plan's
