"""Backends whose workers do what each job says, opened for a test; what their jobs come to."""

import time
from pathlib import Path

import pytest

from cluster.backend import open_backend
from cluster.job import Job, Resources, WorkerSpec

FACTORY = "tests.cluster.workers:ScriptedWorker"
HALF = Resources(num_cpus=1)
WHOLE = Resources(num_cpus=2)
DECLARED = Resources(num_cpus=6, memory_gib=100)
TIMEOUT_S = 60


@pytest.fixture
def opened(backend):
    """A backend of each kind in turn, opened; closed after the test."""
    backends = []

    def open_one(factory=FACTORY, **settings):
        backends.append(open_backend(backend, WorkerSpec(factory=factory, settings=settings)))
        return backends[-1]

    yield open_one
    for one in backends:
        one.close()


@pytest.fixture
def ray_opened(ray_backend):
    backends = []

    def open_one(factory=FACTORY, *, capacity=None, idle_s=None, **settings):
        spec = WorkerSpec(factory=factory, settings=settings)
        backends.append(open_backend("ray", spec, capacity=capacity, idle_s=idle_s))
        return backends[-1]

    yield open_one
    for one in backends:
        one.close()


def job(name, action="echo", argument=None, resources=HALF):
    return Job(id=str(name), payload=(action, argument), resources=resources)


def ends(backend, num_jobs, timeout_s=TIMEOUT_S):
    """Return what each of so many jobs ended with, by id; each ends once."""
    ended = {}
    deadline = time.monotonic() + timeout_s
    while len(ended) < num_jobs:
        assert time.monotonic() < deadline, f"only {sorted(ended)} ended"
        for one in backend.wait(1.0):
            assert one.job_id not in ended, "a job was reported twice"
            ended[one.job_id] = one
    return ended


def run_one(backend, action, argument=None, resources=HALF):
    backend.submit(job("one", action, argument, resources))
    return ends(backend, 1)["one"]


def wait_for(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []
