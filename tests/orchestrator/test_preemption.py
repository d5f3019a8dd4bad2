"""A machine that is taken away costs no trial: what was told to end goes on in another process."""

import threading

from cluster.job import Cause, Resources, State
from orchestrator import run
from orchestrator.running.loop import MAX_RETRIES
from orchestrator.running.work import Worker
from orchestrator.running.workspace import open_sweep
from tests.toy_training import sweep_of


def test_being_preempted_uses_up_no_retry_of_another_cause(toy, ray_backend):
    times = MAX_RETRIES[Cause.WORKER_DIED] + 1
    space = {"value": 1, "sleep_s": 0.001, "anything": [{"steps": 5, "told": times}]}
    made = run(sweep_of(toy, space), backend=ray_backend)
    assert made.state is State.FINISHED
    assert len(toy.executed("begin")) == times + 1


def test_a_running_stage_comes_to_its_checkpoint_and_goes_on_from_there(toy):
    space = {"value": 1, "sleep_s": 0.01, "anything": [{"steps": 60}]}
    planned = open_sweep(sweep_of(toy, space)).plan()
    (job,) = planned.jobs
    payload = [planned.stages[digest] for digest in job.stages]

    worker = Worker(resources=Resources(num_cpus=1), store=str(toy.store))
    threading.Timer(0.2, worker.preempt).start()
    ended = {planned.stages[o.digest].stage.name: o for o in worker.run(payload)}
    assert ended["toy/prepare"].state is State.FINISHED
    assert ended["toy/train"].failure.cause is Cause.PREEMPTED
    assert "goes on from a checkpoint" in ended["toy/train"].failure.message
    assert ended["toy/evaluate"].failure.cause is Cause.PREEMPTED

    other = Worker(resources=Resources(num_cpus=1), store=str(toy.store))
    assert all(outcome.state is State.FINISHED for outcome in other.run(payload))
    assert [int(line.split()[-1]) for line in toy.executed("step")] == list(range(1, 61))
    assert int(toy.executed("begin")[1].split()[-1]) > 0
