"""Memory that has no room left, or an accelerator that is lost: what the worker makes of it."""

import errno
import gc
import weakref

import pytest
import torch

from cluster.job import Cause, Resources, State
from cluster.usage import free_memory_gib
from orchestrator import run
from orchestrator.running.outcome import failure_of
from orchestrator.running.work import Worker
from orchestrator.running.workspace import open_sweep
from tests import toy_cohorts
from tests.toy_cohorts import sweep_of, work_together

GIB = 2**30


class Cuda:
    """Stands for `torch.cuda` of a process that has one; an error in a kernel may have lost it."""

    is_lost = False
    is_begun = True
    num_emptied = 0

    def is_available(self):
        return True

    def is_initialized(self):
        return self.is_begun

    def synchronize(self):
        if self.is_lost:
            raise RuntimeError("CUDA error: device-side assert triggered")

    def empty_cache(self):
        self.num_emptied += 1

    def mem_get_info(self):
        return 7 * GIB, 80 * GIB

    def memory_reserved(self):
        return 3 * GIB if self.is_begun else 0

    def memory_allocated(self):
        return 2 * GIB if self.is_begun else 0

    def reset_peak_memory_stats(self):
        pass

    def max_memory_allocated(self):
        return GIB


@pytest.fixture
def cuda(monkeypatch):
    stand_in = Cuda()
    monkeypatch.setattr("cluster.usage._torch_cuda", lambda: stand_in)
    return stand_in


def run_alone(toy, sweep):
    """Return a worker that has run all stages of a sweep, and their outcomes by value."""
    planned = open_sweep(sweep).plan()
    worker = Worker(resources=Resources(num_cpus=1), store=str(toy.store))
    outcomes = worker.run(list(planned.stages.values()))
    worked = [o for o in outcomes if planned.stages[o.digest].stage.name == "toy/work"]
    return worker, {planned.stages[o.digest].params["value"]: o for o in worked}


class Ballast:
    """Something on the device."""


def test_what_a_cohort_without_room_held_is_let_go_before_its_halves_are_tried(
    toy, cuda, monkeypatch
):
    held, alive = [], []

    def greedy(context, members):
        alive.append(sum(thing() is not None for thing in held))
        loop = Ballast()
        loop.itself = loop  # as a module and a hook that knows it
        held.extend(map(weakref.ref, (loop, context.cached("weights", Ballast))))
        if len(members) > 2:
            raise RuntimeError("CUDA error: out of memory")
        yield from work_together(context, members)

    monkeypatch.setattr(toy_cohorts, "work_together", greedy)
    gc.disable()
    try:
        _, outcomes = run_alone(toy, sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=1))
    finally:
        gc.enable()
    assert {o.state for o in outcomes.values()} == {State.FINISHED}
    assert alive[:2] == [0, 0]
    assert alive[2] > 0, "what fits stays warm"
    assert cuda.num_emptied == 1


@pytest.mark.parametrize("pipeline", ["TOGETHER", None])
def test_after_an_error_that_loses_the_accelerator_no_stage_is_blamed_for_it(toy, cuda, pipeline):
    cuda.is_lost = True  # as is found out when a stage has failed
    space = [{"value": [1, 2]}, {"value": 5, "fail": "raise"}, {"value": [7, 8]}]
    sweep = sweep_of(toy, space, pipeline, seeds=1) if pipeline else toy.sweep(space, seeds=1)
    worker, outcomes = run_alone(toy, sweep)
    assert worker.is_lost
    states = {value: str(o.state) for value, o in outcomes.items()}
    assert states == {1: "FINISHED", 2: "FINISHED", 5: "FAILED", 7: "FAILED", 8: "FAILED"}
    causes = {o.failure.cause for o in outcomes.values() if o.failure}
    assert causes == {Cause.WORKER_DIED}, "another process may do better"
    worked_on = [float(line.split()[0]) for line in toy.executed("work")]
    assert worked_on == [1, 2, 5]


def test_after_a_lack_of_host_memory_another_process_tries_again(toy, ray_backend):
    """The heap stays in pieces, and what fits into a fresh process may not fit into this one."""
    space = [{"value": 1}, {"value": 5, "fail": "memory", "fail_times": 1}]
    made = run({**toy.sweep(space, seeds=1), "max_concurrent": 1}, backend=ray_backend)
    assert made.counts == {"FINISHED": 2}
    processes = [line.split()[-1] for line in toy.executed("work") if float(line.split()[0]) == 5]
    assert len(set(processes)) == 2


def test_a_lack_of_memory_of_the_accelerator_leaves_the_process_as_it_is(toy, cuda):
    sweep = open_sweep(toy.sweep({"value": 5, "fail": "memory"}, seeds=1))
    worker = Worker(resources=Resources(num_cpus=1, num_gpus=1), store=str(toy.store))
    worker.run(list(sweep.plan().stages.values()))
    assert not worker.is_lost


def test_an_ordinary_failure_loses_nothing(toy, cuda):
    space = [{"value": 1}, {"value": 5, "fail": "raise"}, {"value": 7}]
    worker, outcomes = run_alone(toy, toy.sweep(space, seeds=1))
    assert not worker.is_lost
    assert {v: o.failure and o.failure.cause for v, o in outcomes.items()} == {
        1: None,
        5: Cause.BUG,
        7: None,
    }
    assert cuda.num_emptied == 0


def of_torch():
    torch.empty(2**60)


def of_its_allocator():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def of_the_driver():
    raise torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ...")


def of_cublas():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def of_cudnn():
    raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")


def of_a_mapped_file():
    said = "unable to mmap 90868376 bytes from file <weights>: Cannot allocate memory (12)"
    raise RuntimeError(said)


def of_the_system():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def of_whoever_tells_it_in_other_words():
    raise OSError("the weights cannot be read: Cannot allocate memory")


@pytest.mark.parametrize(
    "fail",
    [
        of_torch,
        of_its_allocator,
        of_the_driver,
        of_cublas,
        of_cudnn,
        of_a_mapped_file,
        of_the_system,
        of_whoever_tells_it_in_other_words,
    ],
)
def test_a_lack_of_memory_is_known_by_whoever_tells_it(fail):
    with pytest.raises((RuntimeError, OSError)) as caught:
        fail()
    assert failure_of(caught.value).cause is Cause.OUT_OF_MEMORY


def test_other_errors_of_the_device_are_no_lack_of_memory():
    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    assert failure_of(error).cause is Cause.BUG


@pytest.mark.parametrize(("is_begun", "free_gib"), [(True, 8), (False, 7)])
def test_free_memory_is_that_of_the_device_before_its_first_use_too(cuda, is_begun, free_gib):
    cuda.is_begun = is_begun
    assert free_memory_gib("cuda") == free_gib
