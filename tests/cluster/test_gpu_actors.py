"""Parts of accelerators on Ray: no job waits for ever for a device that idle workers hold."""

import subprocess
import sys

import pytest

from tests.cli import ROOT

SCRIPT = """
import time, ray
from cluster.job import Job, Resources, WorkerSpec
from cluster.ray_backend import RayBackend

ray.init(address="local", num_cpus=6, num_gpus=2, include_dashboard=False,
         _node_ip_address="127.0.0.1", log_to_driver=False, configure_logging=False)
backend = RayBackend(WorkerSpec(factory="tests.cluster.workers:ScriptedWorker"))
ended, deadline = set(), time.monotonic() + 60

def run(until, part, **seconds):
    for name, argument in seconds.items():
        needed = Resources(num_cpus=1, num_gpus=part)
        backend.submit(Job(id=name, payload=("sleep", argument), resources=needed))
    while not until <= ended and time.monotonic() < deadline:
        ended.update(end.job_id for end in backend.wait(0.5) if end.result == "slept")

run({"a", "c"}, 0.5, a=0.1, b=1.5, c=0.1, d=1.5)  # two on each device; one of each goes on
run({"b", "d", "whole"}, 1, whole=0.1)
backend.close()
ray.shutdown()
print(*sorted(ended))
"""


@pytest.mark.timeout(120)
def test_a_whole_device_is_freed_of_workers_that_hold_parts_of_it():
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.stdout.split() == ["a", "b", "c", "d", "whole"], ended.stderr[-2000:]
