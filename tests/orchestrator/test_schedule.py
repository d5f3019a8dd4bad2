"""The scheduling policy over random graphs: order, capacity, failures, retries."""

import random
import time
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.job import Resources
from orchestrator.planning.packing import PlannedJob
from orchestrator.running.schedule import Schedule

quick = settings(max_examples=60, deadline=None)
SHAPES = [
    Resources(num_cpus=1),
    Resources(num_cpus=2, num_gpus=0.5),
    Resources(num_cpus=0.4, memory_gib=1),
]
CAPACITY = Resources(num_cpus=2, num_gpus=1, memory_gib=2)


def job(name, needs=(), shape=SHAPES[0], cost_s=1.0, stages=None):
    return PlannedJob(
        id=name,
        stages=tuple(stages or [f"stage of {name}"]),
        needs=frozenset(f"stage of {earlier}" for earlier in needs),
        resources=shape,
        cost_s=cost_s,
    )


@st.composite
def graphs(draw, max_size=14):
    size = draw(st.integers(0, max_size))
    return [
        job(
            f"j{index}",
            [f"j{n}" for n in draw(st.sets(st.integers(0, index - 1), max_size=3))]
            if index
            else (),
            draw(st.sampled_from(SHAPES)),
            draw(st.sampled_from([0.1, 1.0, 5.0])),
        )
        for index in range(size)
    ]


def started(schedule):
    """Start all that can start now."""
    jobs = []
    while (one := schedule.start_next()) is not None:
        jobs.append(one)
    return jobs


def used(jobs):
    return {
        name: sum(getattr(one.resources, name) for one in jobs)
        for name in ("num_cpus", "num_gpus", "memory_gib")
    }


def assert_fits(running, max_concurrent):
    for name, taken in used(running).items():
        assert taken <= getattr(CAPACITY, name) + 1e-6
    assert max_concurrent is None or len(running) <= max_concurrent


CHANCE = st.randoms(use_true_random=False)
CONCURRENCY = st.none() | st.integers(1, 4)


@quick
@given(jobs=graphs(), max_concurrent=CONCURRENCY, chance=CHANCE)
def test_every_job_starts_once_after_what_it_needs_within_the_capacity(
    jobs, max_concurrent, chance
):
    shuffled = chance.sample(jobs, len(jobs))
    schedule = Schedule(shuffled, finished=(), capacity=CAPACITY, max_concurrent=max_concurrent)
    running, finished, order = [], set(), []
    while new := started(schedule) or running:
        if new is not running:
            order += [one.id for one in new]
            assert all(one.needs <= finished for one in new)
            running += new
        assert schedule.num_running == len(running)
        assert_fits(running, max_concurrent)
        ended = running.pop(chance.randrange(len(running)))
        finished.update(ended.stages)
        schedule.end(ended.id, ended.stages)
    assert sorted(order) == sorted(one.id for one in jobs)
    assert schedule.num_running == 0


@quick
@given(jobs=graphs(), chance=CHANCE)
def test_no_slot_stays_empty_while_a_ready_job_fits(jobs, chance):
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    running, finished, begun = [], set(), set()
    while True:
        new = started(schedule)
        running += new
        begun.update(one.id for one in new)
        free = Resources(
            **{name: getattr(CAPACITY, name) - taken for name, taken in used(running).items()}
        )
        ready = [one for one in jobs if one.id not in begun and one.needs <= finished]
        assert not [one for one in ready if one.resources.fits(free)]
        if not running:
            break
        ended = running.pop(chance.randrange(len(running)))
        finished.update(ended.stages)
        schedule.end(ended.id, ended.stages)


@quick
@given(jobs=graphs(), max_concurrent=CONCURRENCY)
def test_workers_get_ready_in_what_is_free_for_what_waits_for_running_jobs_alone(
    jobs, max_concurrent
):
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY, max_concurrent=max_concurrent)
    running = started(schedule)
    wave = schedule.next_wave()
    assert_fits([*running, *wave], max_concurrent)
    assert schedule.next_wave() == wave
    assert started(schedule) == []
    ends = {digest for one in running for digest in one.stages}
    assert all(one.needs <= ends for one in wave)
    following = Counter(one.resources for one in jobs if one.needs and one.needs <= ends)
    places = Counter(one.resources for one in running)
    assert Counter(one.resources for one in wave) <= following - places


def test_a_chain_stays_with_its_worker_and_a_fan_gets_others_ready():
    chain = [job("load"), job("encode", ["load"]), job("probe", ["encode"])]
    schedule = Schedule(chain, finished=(), capacity=CAPACITY)
    started(schedule)
    assert schedule.next_wave() == []
    fan = [job("load"), *(job(f"train {number}", ["load"]) for number in range(5))]
    schedule = Schedule(fan, finished=(), capacity=Resources(num_cpus=4))
    started(schedule)
    assert [one.id for one in schedule.next_wave()] == ["train 1", "train 2", "train 3"]


@quick
@given(jobs=graphs(), chance=CHANCE)
def test_jobs_whose_needs_change_before_they_begin_run_once_within_the_capacity(jobs, chance):
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    running, finished, order = [], set(), []
    while True:
        schedule.resize(lambda job: replace(job, resources=chance.choice(SHAPES)))
        new = started(schedule)
        assert all(one.needs <= finished for one in new)
        order += [one.id for one in new]
        running += new
        assert_fits(running, None)
        if not running:
            break
        ended = running.pop(chance.randrange(len(running)))
        finished.update(ended.stages)
        schedule.end(ended.id, ended.stages)
    assert sorted(order) == sorted(one.id for one in jobs)


def closure(jobs, failed):
    """Return the ids of the jobs that need a failed stage, at first or second hand."""
    lost, size = set(failed), -1
    while len(lost) != size:
        size = len(lost)
        lost |= {
            digest for one in jobs if one.needs & lost or set(one.stages) & lost
            for digest in one.stages
        }  # fmt: skip
    return {one.id for one in jobs if set(one.stages) & lost} - {
        one.id for one in jobs if set(one.stages) & set(failed)
    }


def drop_all(schedule, failed):
    """Drop what waits for a stage, and what waits for that."""
    dropped, digests = [], [failed]
    for digest in digests:
        for one in schedule.drop(digest):
            dropped.append(one)
            digests += one.stages
    return dropped


@quick
@given(jobs=graphs(), chance=CHANCE, share=st.sampled_from([0.2, 0.5, 1.0]))
def test_a_failed_stage_takes_with_it_what_needs_it_and_nothing_else(jobs, chance, share):
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    running, failed, dropped, done = [], set(), [], set()
    while new := started(schedule) or running:
        if new is not running:
            running += new
        ended = running.pop(chance.randrange(len(running)))
        if chance.random() < share:
            failed.update(ended.stages)
            schedule.end(ended.id, ())
            for digest in ended.stages:
                dropped += [one.id for one in drop_all(schedule, digest)]
        else:
            done.add(ended.id)
            schedule.end(ended.id, ended.stages)
    lost = closure(jobs, failed)
    assert len(dropped) == len(set(dropped))
    assert set(dropped) == lost
    assert done == {one.id for one in jobs if not set(one.stages) & failed} - lost


def test_an_input_that_ends_after_another_has_failed_is_no_crash():
    jobs = [job("a"), job("b"), job("both", ["a", "b"])]
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    assert [one.id for one in started(schedule)] == ["a", "b"]
    schedule.end("a", ())
    assert [one.id for one in schedule.drop("stage of a")] == ["both"]
    schedule.end("b", ["stage of b"])
    assert started(schedule) == []
    assert schedule.num_running == 0


@quick
@given(jobs=graphs(), chance=CHANCE)
def test_a_job_that_is_added_again_runs_again(jobs, chance):
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    running, num_starts = [], dict.fromkeys([one.id for one in jobs], 0)
    while new := started(schedule) or running:
        if new is not running:
            running += new
            for one in new:
                num_starts[one.id] += 1
        assert_fits(running, None)
        ended = running.pop(chance.randrange(len(running)))
        if num_starts[ended.id] < 3 and chance.random() < 0.5:
            schedule.end(ended.id, ())
            schedule.add(ended)
        else:
            schedule.end(ended.id, ended.stages)
    assert all(1 <= count <= 3 for count in num_starts.values())


def test_another_attempt_takes_what_it_needs_now_and_not_what_it_needed_before():
    half, whole = Resources(num_gpus=0.5), Resources(num_gpus=1)
    first = job("first", shape=half)
    others = [job(f"other {n}", shape=half, cost_s=2.0) for n in range(20)]
    schedule = Schedule([first, *others], finished=(), capacity=CAPACITY)
    running = started(schedule)
    running.remove(first)
    schedule.end("first", ())
    schedule.add(replace(first, resources=whole))
    order = []
    while new := started(schedule) or running:
        if new is not running:
            running += new
            order += new
        ended = running.pop(0)
        schedule.end(ended.id, ended.stages)
    assert [one.resources for one in order if one.id == "first"] == [whole]


def test_what_is_finished_before_needs_no_wait():
    jobs = [job("late", ["early"])]
    schedule = Schedule(jobs, finished=["stage of early"], capacity=CAPACITY)
    assert [one.id for one in started(schedule)] == ["late"]


def test_a_job_whose_input_never_comes_does_not_start():
    schedule = Schedule([job("late", ["never"])], finished=(), capacity=CAPACITY)
    assert started(schedule) == []
    assert schedule.num_running == 0


def test_a_job_larger_than_the_machine_does_not_start():
    huge = job("huge", shape=Resources(num_cpus=64))
    assert started(Schedule([huge], finished=(), capacity=CAPACITY)) == []


def test_the_head_of_the_longest_chain_goes_first():
    jobs = [
        job("short", cost_s=3.0),
        job("head", cost_s=1.0),
        job("middle", ["head"], cost_s=1.0),
        job("tail", ["middle"], cost_s=5.0),
    ]
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY, max_concurrent=1)
    order = []
    while new := started(schedule):
        (one,) = new
        order.append(one.id)
        schedule.end(one.id, one.stages)
    assert order == ["head", "middle", "tail", "short"]


def groups(num_groups, num_trials, chance):
    """Return expensive shared jobs, and trials that need one of them each."""
    shared = [job(f"p{n}", cost_s=chance.uniform(5, 30)) for n in range(num_groups)]
    return shared + [
        job(f"j{n}", [f"p{n % num_groups}"], cost_s=chance.expovariate(1.0))
        for n in range(num_trials)
    ]


def simulated(jobs, num_slots):
    """Run jobs by a virtual clock; return when each ended."""
    schedule = Schedule(jobs, finished=(), capacity=Resources(num_cpus=num_slots))
    now_s, running, ended_s = 0.0, [], {}
    while new := [(now_s + one.cost_s, one.id, one) for one in started(schedule)] or running:
        if new is not running:
            running += new
        running.sort(key=lambda entry: entry[:2])
        now_s, name, one = running.pop(0)
        ended_s[name] = now_s
        schedule.end(name, one.stages)
    return ended_s


def test_results_come_while_shared_work_goes_on():
    ended_s = simulated(groups(10, 400, random.Random(1)), num_slots=2)
    last_shared_s = max(at for name, at in ended_s.items() if name.startswith("p"))
    early = [at for name, at in ended_s.items() if name.startswith("j") and at < last_shared_s]
    assert len(early) > 200


def test_early_results_hardly_delay_the_end():
    for seed in range(10):
        chance = random.Random(seed)
        num_slots = chance.choice([2, 4, 16])
        jobs = groups(5 * num_slots, 100 * num_slots, chance)
        bound_s = sum(one.cost_s for one in jobs) / num_slots
        assert max(simulated(jobs, num_slots).values()) < 1.05 * bound_s


def test_fractions_fill_the_machine():
    jobs = [job(f"j{n}", shape=Resources(num_cpus=0.1)) for n in range(30)]
    schedule = Schedule(jobs, finished=(), capacity=Resources(num_cpus=1))
    assert len(started(schedule)) == 10


def test_a_long_chain_can_fail_at_its_head():
    jobs = [job("j0"), *(job(f"j{n}", [f"j{n - 1}"]) for n in range(1, 5000))]
    schedule = Schedule(jobs, finished=(), capacity=CAPACITY)
    assert schedule.start_next().id == "j0"
    schedule.end("j0", ())
    assert len(drop_all(schedule, "stage of j0")) == 4999


def test_a_decision_costs_little(record_property):
    chance = random.Random(7)
    size = 20_000
    shared = [job(f"p{n}") for n in range(100)]
    jobs = shared + [
        job(f"j{n}", [f"p{chance.randrange(100)}"], cost_s=chance.random()) for n in range(size)
    ]
    begun = time.perf_counter()
    schedule = Schedule(jobs, finished=(), capacity=Resources(num_cpus=64))
    num_started = 0
    while new := started(schedule):
        num_started += len(new)
        for one in new:
            schedule.end(one.id, one.stages)
    cost_us = (time.perf_counter() - begun) / num_started * 1e6
    record_property("microseconds_per_job", round(cost_us, 1))
    assert num_started == size + 100
    assert cost_us < 2000, "a quadratic policy would take longer by far"
