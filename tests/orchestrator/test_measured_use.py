"""What stages used: in their records, in the store's timings, in the plan, and for packing GPUs."""

import json
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.backend import BACKENDS
from cluster.inline import InlineBackend
from cluster.job import Resources
from cluster.machine import gpu_memory_gib, smallest_gpu_gib
from orchestrator import run
from orchestrator.planning.cost import Observation, Timings
from orchestrator.planning.gpu_sharing import CONTEXT_GIB, HEADROOM, MAX_PER_GPU, gpu_share
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.plan import Setting, make_plan, merge
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.running.schedule import Schedule
from orchestrator.running.workspace import open_sweep
from tests.cli import fanflare, sweep_file
from tests.toy_cohorts import sweep_of

__all__ = ["fanflare"]  # the fixture

ON_GPU = {"num_gpus": 1}


def usages(sweep, param):
    """Return what the working stages used, by a param's value."""
    workspace = open_sweep(sweep)
    records = workspace.store.find(workspace.nodes)
    return {
        node.params[param]: records[digest].usage
        for digest, node in workspace.nodes.items()
        if node.stage.name == "toy/work"
    }


# Records


def test_the_record_of_a_stage_says_what_it_used(toy, backend):
    space = [
        {"value": 1, "allocate_mib": 200},
        {"value": 2, "busy_s": 0.3},
        {"value": 3, "sleep_s": 0.3},
    ]
    sweep = toy.sweep(space, max_concurrent=1)
    run(sweep, backend=backend)
    used = usages(sweep, "value")
    quiet_gib = used[3].peak_memory_gib
    assert quiet_gib > 0.01
    assert used[1].peak_memory_gib == pytest.approx(quiet_gib + 200 / 1024, abs=0.05)
    assert used[2].peak_memory_gib == pytest.approx(quiet_gib, abs=0.05)
    assert 0.3 <= used[2].cpu_s < 0.6
    assert used[3].cpu_s < 0.25
    assert used[3].peak_gpu_memory_gib is None


def test_members_of_a_cohort_have_records_of_what_they_used(toy):
    sweep = sweep_of(toy, {"value": [1, 2, 3, 4], "sleep_s": 0.05})
    run(sweep, backend="inline")
    used = usages(sweep, "value")
    assert all(usage.peak_memory_gib > 0.01 and usage.cpu_s < 0.05 for usage in used.values())


# Timings


def test_timings_keep_the_largest_peaks_and_read_files_without_any():
    timings = Timings.from_json({"stage|model|params": [3, 2.5], "limit|stage|model": [1, 4]})
    keys = ("stage|model|params", "stage|model", "stage")
    assert timings.estimate_s(keys) == 2.5
    assert timings.limit(keys) == 4
    assert timings.peak_memory_gib(keys) is timings.peak_gpu_memory_gib(keys) is None
    timings.observe_memory(keys, 2.0, 7.0)
    timings.observe_memory(keys, 1.0, None)
    read = Timings.from_json(json.loads(json.dumps(timings.to_json())))
    assert (read.peak_memory_gib(keys), read.peak_gpu_memory_gib(keys)) == (2.0, 7.0)
    assert read.estimate_s(keys) == 2.5
    assert read.peak_memory_gib(("stage|model|others", "stage|model", "stage")) == 2.0
    assert read.peak_memory_gib(("stage|large|params", "stage|large", "stage")) is None


# Sharing an accelerator


@given(peak_gib=st.floats(0, 200), memory_gib=st.sampled_from([0.0, 8.0, 24.0, 80.0, 141.0]))
def test_those_who_share_an_accelerator_fit_into_its_memory(peak_gib, memory_gib):
    share = gpu_share(peak_gib, memory_gib)
    num = round(1 / share)
    need_gib = peak_gib * HEADROOM + CONTEXT_GIB
    assert num * share == 1
    assert num in (1, 2, 4, 8)
    assert num == 1 or num * need_gib <= memory_gib
    assert num == MAX_PER_GPU or 2 * num * need_gib > memory_gib


def on_gpu(space, peaks, *, pipeline="tests.toy:TOY", memory_gib=80.0, num_gpus=1, **keys):
    """Return the plan on machines of two GPUs, given the peak of the working stages by value."""
    content = {"name": "toy", "pipeline": pipeline, "space": space, "resources": ON_GPU, **keys}
    file = SweepFile(content)
    sweep = parse(file)
    trials, nodes = merge(expand(sweep, file))
    timings = Timings()
    known = make_plan(sweep, trials, nodes, Setting(gpu_memory_gib=memory_gib))
    for stage in known.stages.values():
        if stage.params.get("value") in peaks:
            timings.observe(stage.cost_keys, 30.0)
            timings.observe_memory(stage.cost_keys, 1.0, peaks[stage.params["value"]])
    capacity = Resources(num_cpus=32, num_gpus=2)
    setting = Setting(timings=timings, capacity=capacity, gpu_memory_gib=memory_gib)
    return make_plan(sweep, trials, nodes, setting)


def shares(plan):
    """Return the accelerators of the jobs that work, by value."""
    return {
        plan.stages[digest].params["value"]: job.resources.num_gpus
        for job in plan.jobs
        for digest in job.stages
        if plan.stages[digest].stage.name == "toy/work"
    }


def test_trials_reserve_the_part_of_a_gpu_that_was_measured():
    space = {"value": [1, 2, 3, 4], "group": 0}
    peaks = {1: 0.5, 2: 9.0, 3: 25.0, 4: 60.0}
    assert shares(on_gpu(space, peaks)) == {1: 1 / 8, 2: 1 / 4, 3: 1 / 2, 4: 1}
    assert shares(on_gpu(space, peaks, memory_gib=24.0)) == {1: 1 / 8, 2: 1 / 2, 3: 1, 4: 1}


def test_what_was_never_measured_has_a_whole_gpu():
    assert shares(on_gpu({"value": [1, 2]}, {})) == {1: 1, 2: 1}
    assert shares(on_gpu({"value": [1, 2]}, {1: 0.5}, memory_gib=0.0)) == {1: 1, 2: 1}


def test_other_params_on_the_same_data_count_with_the_largest_peak():
    assert shares(on_gpu({"value": [1, 2, 3]}, {1: 0.5, 2: 9.0})) == {1: 1 / 8, 2: 1 / 4, 3: 1 / 4}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"resources": {"num_gpus": 1, "share_gpus": False}}, 1),
        ({"sharing": "off"}, 1),
        ({"resources": {"num_gpus": 2}}, 2),
        ({"resources": {"num_gpus": 0.5}}, 0.5),
        ({"resources": {"num_gpus": 0}}, 0),
        ({"pipeline": "tests.toy_cohorts:TOGETHER"}, 1),
    ],
)
def test_no_gpu_is_shared_where_it_was_not_asked_for_or_a_cohort_fills_it(keys, expected):
    assert shares(on_gpu({"value": [1, 2]}, {1: 0.5, 2: 0.5}, **keys)) == dict.fromkeys(
        (1, 2), expected
    )


def test_as_many_run_at_once_as_fit_and_the_estimate_knows():
    space, peaks = {"value": list(range(1, 21))}, dict.fromkeys(range(1, 21), 9.0)
    plan = on_gpu(space, peaks)
    jobs = [replace(job, needs=frozenset()) for job in plan.jobs if job.resources.num_gpus]
    schedule = Schedule(jobs, finished=(), capacity=Resources(num_cpus=32, num_gpus=2))
    num_started = 0
    while schedule.start_next() is not None:
        num_started += 1
    assert num_started == 8
    apart = on_gpu(space, peaks, resources={"num_gpus": 1, "share_gpus": False})
    assert plan.estimate.wall_s == pytest.approx(apart.estimate.wall_s / 4, rel=0.1)


# A whole run, on a machine that says that it has a GPU


class NotingBackend(InlineBackend):
    """The backend `inline`, which keeps what its jobs reserve."""

    noted: ClassVar[list[float]] = []

    def submit(self, job):
        if any(stage.stage.name == "toy/work" for stage in job.payload):
            self.noted.append(job.resources.num_gpus)
        super().submit(job)


@pytest.fixture
def gpu_machine(tmp_path, monkeypatch):
    """A machine with one GPU of 80 GiB, as far as its driver's program and the toys can tell."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '81920, Disabled'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(NotingBackend, "noted", [])
    monkeypatch.setitem(BACKENDS, "noting", f"{__name__}:NotingBackend")
    gpu_memory_gib.cache_clear()
    yield
    gpu_memory_gib.cache_clear()


def remember(sweep, peak_gib):
    """Let the store know the peak of the working stages on a GPU."""
    workspace = open_sweep(sweep)
    stages = workspace.plan().stages.values()
    workspace.save_timings(
        [
            Observation(cost_keys=s.cost_keys, peak_memory_gib=1.0, peak_gpu_memory_gib=peak_gib)
            for s in stages
            if s.stage.name == "toy/work"
        ]
    )


class MeasuringBackend(NotingBackend):
    """The same, where a working stage is seen to take 9 GiB of the GPU."""

    def wait(self, timeout_s):
        return [
            replace(end, result=[_as_measured(outcome) for outcome in end.result])
            for end in super().wait(timeout_s)
        ]


def _as_measured(outcome):
    if "score" not in outcome.value or outcome.usage is None:
        return outcome
    return replace(outcome, usage=replace(outcome.usage, peak_gpu_memory_gib=9.0))


def test_trials_share_a_gpu_once_the_first_of_them_was_measured(toy, gpu_machine, monkeypatch):
    monkeypatch.setitem(BACKENDS, "noting", f"{__name__}:MeasuringBackend")
    sweep = toy.sweep({"value": [1, 2, 3, 4, 5]}, seeds=1, resources=ON_GPU)
    assert run(sweep, backend="noting").state == "FINISHED"
    assert NotingBackend.noted == [1, 1 / 4, 1 / 4, 1 / 4, 1 / 4]


def test_a_trial_whose_part_was_too_small_is_tried_again_on_a_whole_gpu(toy, gpu_machine):
    space = {"value": 1, "fail": "memory", "fail_times": 1}
    sweep = toy.sweep(space, resources=ON_GPU)
    remember(sweep, 0.5)
    report = run(sweep, backend="noting")
    assert report.state == "FINISHED"
    assert NotingBackend.noted == [1 / 8, 1]
    again = open_sweep(sweep).plan(fresh=True)
    (share,) = {job.resources.num_gpus for job in again.jobs} - {0}
    assert share == 1 / 4, "10 GiB did not suffice"


def test_the_plan_says_how_many_run_on_a_gpu(toy, gpu_machine, fanflare, tmp_path):
    sweep = toy.sweep({"value": [1, 2], "sleep_s": 1}, resources=ON_GPU)
    remember(sweep, 2.0)
    path = sweep_file(tmp_path, sweep)
    assert "8 to a GPU of 80 GiB: 2.0 GiB each at most, measured" in fanflare("plan", path).out
    content = fanflare("plan", path, "--json").json
    assert {job["num_gpus"] for job in content["jobs"]} == {0, 1 / 8}
    peaks = {stage["name"]: stage["peak_gpu_memory_gib"] for stage in content["stages"]}
    assert peaks == {"toy/prepare": None, "toy/work": 2.0, "toy/evaluate": None}


def test_the_plan_shows_the_memory_of_a_cohort_once_it_was_measured(toy, fanflare, tmp_path):
    sweep = sweep_of(toy, {"value": [1, 2, 3]})
    path = sweep_file(tmp_path, sweep)
    assert "measured" not in fanflare("plan", path).out
    assert fanflare("plan", path, "--json").json["cohorts"][0]["peak_memory_gib"] is None
    run(sweep, backend="inline")
    path = sweep_file(tmp_path, {**sweep, "seeds": [5, 6]})
    assert "memory: the most that was measured in one job" in fanflare("plan", path).out
    (cohort,) = fanflare("plan", path, "--json").json["cohorts"]
    assert cohort["peak_memory_gib"] > 0.01
    assert cohort["peak_gpu_memory_gib"] is None


@pytest.mark.parametrize(
    ("listed", "expected"),
    [("81920, Disabled\n24576, [N/A]\n", 24.0), ("81920, Enabled\n", 0.0), ("", 0.0)],
)
def test_the_smallest_device_counts_and_parts_of_one_do_not(listed, expected):
    assert smallest_gpu_gib(listed) == expected
    with pytest.raises(ValueError, match="N/A"):
        smallest_gpu_gib("[N/A], [N/A]")
