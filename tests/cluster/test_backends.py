"""The numbered promises of `cluster.backend.Backend`, kept by every backend.

The inline backend is excused where a job ends the process: that process is the caller's.
"""

import os
import signal
import time

import psutil
import pytest

from cluster.backend import BACKENDS, open_backend
from cluster.job import Cause, Resources, WorkerSpec
from tests.cluster.scripted import (
    DECLARED,
    FACTORY,
    HALF,
    TIMEOUT_S,
    WHOLE,
    ends,
    job,
    lines,
    opened,
    ray_opened,
    run_one,
    wait_for,
)

__all__ = ["opened", "ray_opened"]  # fixtures


def test_every_backend_has_a_name():
    assert set(BACKENDS) == {"inline", "ray"}
    with pytest.raises(KeyError):
        open_backend("slurm", WorkerSpec(factory=FACTORY))


def test_submit_does_not_wait_for_the_job(opened):
    backend = opened()
    begun = time.monotonic()
    backend.submit(job("slow", "sleep", 30))
    backend.submit(job("queued", "sleep", 30, WHOLE))
    assert time.monotonic() - begun < 20
    backend.cancel_all()


def test_every_job_ends_exactly_once_with_its_own_result(opened):
    backend = opened()
    for number in range(40):
        backend.submit(job(number, "echo", {"number": number, "text": "é" * 100}))
    ended = ends(backend, 40)
    assert {name: one.result["number"] for name, one in ended.items()} == {
        str(number): number for number in range(40)
    }
    assert all(one.failure is None for one in ended.values())
    assert list(backend.wait(0.1)) == []


def test_a_job_begins_once_and_before_its_end(opened):
    backend = opened()
    for number in range(5):
        backend.submit(job(number))
    begun, ended = [], []
    deadline = time.monotonic() + TIMEOUT_S
    while len(ended) < 5:
        assert time.monotonic() < deadline
        begun += backend.begun()
        found = backend.wait(1.0)
        begun += backend.begun()
        ended += [one.job_id for one in found]
        assert set(ended) <= set(begun)
    assert sorted(begun) == sorted(ended)


def test_a_job_that_waits_for_a_worker_has_not_begun(ray_opened):
    backend = ray_opened(capacity=DECLARED)  # of which two of six are there
    for number in range(3):
        backend.submit(job(number, "sleep", 1.0))
    begun = []
    while not (ended := backend.wait(0.1)):
        begun += backend.begun()
        assert len(begun) <= 2
    ends(backend, 3 - len(ended))
    assert sorted([*begun, *backend.begun()]) == ["0", "1", "2"]


def test_a_wait_with_nothing_submitted_returns_at_once(opened):
    backend = opened()
    begun = time.monotonic()
    assert list(backend.wait(30)) == []
    assert time.monotonic() - begun < 20


def test_settings_reach_the_worker(opened):
    assert run_one(opened(greeting="salut"), "greet", "toi").result == "salut toi"


def test_a_job_that_raises_is_a_failure_and_its_worker_goes_on(opened):
    backend = opened()
    before = run_one(backend, "who").result
    failed = run_one(backend, "fail", "the reason")
    assert failed.result is None
    assert failed.failure.cause is Cause.BUG
    assert "the reason" in failed.failure.message
    assert "Traceback" in failed.failure.traceback or "ValueError" in failed.failure.traceback
    after = run_one(backend, "who").result
    assert after["pid"] == before["pid"]
    assert after["num_jobs"] == before["num_jobs"] + 2


def test_an_error_that_cannot_travel_is_a_failure_all_the_same(opened):
    backend = opened()
    failure = run_one(backend, "fail_oddly", "odd").failure
    assert failure.cause in (Cause.BUG, Cause.WORKER_DIED)
    assert run_one(backend, "echo", 1).result == 1


def test_a_job_that_asks_to_exit_does_not_end_the_caller(opened):
    backend = opened()
    failure = run_one(backend, "leave", 3).failure
    assert failure.cause in (Cause.BUG, Cause.WORKER_DIED)
    assert run_one(backend, "echo", 1).result == 1


@pytest.mark.parametrize(
    ("action", "argument"), [("kill", signal.SIGKILL), ("kill", signal.SIGSEGV), ("crash", 7)]
)
def test_a_worker_that_dies_fails_its_own_job_only(ray_opened, action, argument):
    backend = ray_opened()
    backend.submit(job("other", "sleep", 1.0))
    backend.submit(job("dies", action, argument))
    for number in range(4):
        backend.submit(job(number, "echo", number))
    ended = ends(backend, 6)
    assert ended["dies"].failure.cause is Cause.WORKER_DIED
    assert len(ended["dies"].failure.message.splitlines()) == 1
    assert ended["other"].result == "slept"
    assert [ended[str(number)].result for number in range(4)] == [0, 1, 2, 3]


def test_a_job_can_be_tried_again_after_its_worker_died(ray_opened, tmp_path):
    backend = ray_opened()
    path = str(tmp_path / "mark")
    assert run_one(backend, "die_once", path).failure.cause is Cause.WORKER_DIED
    assert run_one(backend, "die_once", path).result == "alive"


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("tests.cluster.no_such_module:Worker", "no_such_module"),
        ("tests.cluster.workers:NoSuchWorker", "NoSuchWorker"),
        ("tests.cluster.workers:broken_factory", "no licence for this worker"),
    ],
)
def test_a_worker_that_cannot_be_made_is_a_clear_failure(opened, factory, said):
    failure = run_one(opened(factory), "echo").failure
    assert failure.cause is Cause.BUG
    assert said in failure.message


def test_a_worker_is_made_once_for_each_shape_and_serves_many_jobs(opened, tmp_path):
    made = tmp_path / "made"
    backend = opened(made=str(made))
    pids = {run_one(backend, "who").result["pid"] for _ in range(5)}
    assert len(pids) == 1
    assert len(lines(made)) == 1
    assert run_one(backend, "who", resources=WHOLE).result["cpus"] == 2
    assert [line.split()[0] for line in lines(made)] == ["1", "2"]


def test_idle_workers_of_another_shape_make_room(ray_opened, tmp_path):
    made = tmp_path / "made"
    backend = ray_opened(made=str(made))
    backend.submit(job("a", "sleep", 0.3))
    backend.submit(job("b", "sleep", 0.3))
    ends(backend, 2)
    assert run_one(backend, "who", resources=WHOLE).result["cpus"] == 2
    assert run_one(backend, "who").result["cpus"] == 1
    assert [line.split()[0] for line in lines(made)] == ["1", "1", "2", "1"]


def test_what_runs_at_any_moment_fits_the_capacity(ray_opened, tmp_path):
    backend = ray_opened()
    path = tmp_path / "spans"
    shapes = [HALF, HALF, WHOLE, HALF, HALF]
    for number, shape in enumerate(shapes):
        backend.submit(job(number, "span", str(path), shape))
    ends(backend, len(shapes))
    spans = [tuple(map(float, line.split())) for line in lines(path)]
    assert len(spans) == len(shapes)
    for begun, _, _ in spans:
        running = [cpus for start, end, cpus in spans if start <= begun < end]
        assert sum(running) <= backend.capacity.num_cpus


def test_cancelled_jobs_are_not_reported_and_the_backend_goes_on(opened):
    backend = opened()
    for number in range(4):
        backend.submit(job(number, "sleep", 30))
    begun = time.monotonic()
    backend.cancel_all()
    assert list(backend.wait(0.5)) == []
    assert run_one(backend, "echo", "again").result == "again"
    assert time.monotonic() - begun < 20


def test_cancelling_ends_the_processes_that_compute(ray_opened, tmp_path):
    backend = ray_opened()
    path = tmp_path / "pids"
    for number in range(2):
        backend.submit(job(number, "sleep_after_a_mark", str(path)))
    assert wait_for(lambda: not backend.wait(0.1) and len(lines(path)) == 2)
    pids = [int(pid) for pid in lines(path)]
    backend.cancel_all()
    assert wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_closing_twice_leaves_no_worker(opened):
    backend = opened()
    pid = run_one(backend, "who").result["pid"]
    backend.submit(job("running", "sleep", 60))
    backend.close()
    backend.close()
    assert pid == os.getpid() or wait_for(lambda: not psutil.pid_exists(pid))


def test_closing_leaves_a_session_of_the_caller_alone(ray_opened):
    ray_opened().close()
    backend = ray_opened()
    assert run_one(backend, "echo", 1).result == 1


def test_fractions_add_up():
    fifth = Resources(num_cpus=0.4)
    assert fifth.fits(Resources(num_cpus=2).minus(fifth, 4))
    assert not fifth.fits(Resources(num_cpus=2).minus(fifth, 5))


def test_capacity_is_more_than_nothing(opened):
    capacity = opened().capacity
    assert capacity.num_cpus >= 1
    assert HALF.fits(capacity)
    assert not Resources(num_cpus=10_000).fits(capacity)


def test_a_worker_that_is_told_once_ends_its_job_and_takes_no_other(ray_opened, tmp_path):
    backend = ray_opened()
    path = tmp_path / "pids"
    backend.submit(job("told", "end_soon_after_a_mark", str(path)))
    assert wait_for(lambda: not backend.wait(0.05) and lines(path))
    pid = int(lines(path)[0])
    os.kill(pid, signal.SIGTERM)
    backend.submit(job("next", "who"))
    ended = ends(backend, 2)
    assert ended["told"].result == "saved"
    assert ended["next"].result["pid"] != pid


def test_a_job_that_does_not_end_when_told_is_broken_off_as_preempted(ray_opened, tmp_path):
    backend = ray_opened()
    path = tmp_path / "pids"
    backend.submit(job("stubborn", "sleep_after_a_mark", str(path)))
    assert wait_for(lambda: not backend.wait(0.05) and lines(path))
    pid = int(lines(path)[0])
    os.kill(pid, signal.SIGTERM)
    assert list(backend.wait(0.3)) == []
    os.kill(pid, signal.SIGTERM)
    assert ends(backend, 1)["stubborn"].failure.cause is Cause.PREEMPTED
    assert run_one(backend, "who").result["pid"] != pid


def test_jobs_wait_for_no_actor_that_is_never_placed(ray_opened):
    """Of a declared capacity of six only two can be placed: their jobs go to those that are."""
    backend = ray_opened(capacity=DECLARED)
    assert backend.capacity == DECLARED
    for number in range(12):
        backend.submit(job(number, "sleep", 0.1))
    assert {end.result for end in ends(backend, 12).values()} == {"slept"}
    assert run_one(backend, "who", resources=WHOLE).result["cpus"] == 2


def test_idle_workers_are_ended_so_that_their_node_can_be_given_back(ray_opened):
    backend = ray_opened(idle_s=0.5)
    pid = run_one(backend, "who").result["pid"]
    assert run_one(backend, "who").result["pid"] == pid
    assert wait_for(lambda: not backend.wait(0.05) and not psutil.pid_exists(pid))
    assert run_one(backend, "who").result["pid"] != pid


def test_a_process_that_is_of_no_use_any_more_is_given_no_other_job(ray_opened):
    backend = ray_opened()
    backend.submit(job("a", "lose"))
    lost = ends(backend, 1)["a"]
    assert lost.failure is None, "what it has done counts"
    backend.submit(job("b", "who"))
    there = ends(backend, 1)["b"].result
    assert (there["pid"] != lost.result, there["num_jobs"]) == (True, 1)
